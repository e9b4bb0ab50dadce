#include "kernel/sort/writer.hpp"

#include <algorithm>

#include "kernel/sort/config.hpp"
#include "kernel/sort/stream.hpp"

namespace elevon::kernel {
namespace {

std::size_t size_of(std::int64_t count) {
  return static_cast<std::size_t>(count);
}

}  // namespace

RowOrder::RowOrder(std::int64_t rows, int buckets, std::int64_t largest_bucket)
    : in_order(size_of(buckets)) {
  if (largest_bucket <= std::int64_t{1} << 16) {
    narrow = OwnedArray<std::uint16_t>(rows);
  } else {
    wide = OwnedArray<std::uint32_t>(rows);
  }
}

OrderWriter::OrderWriter(const KeyOrder& order, std::span<const DecodedColumn> decoded,
                         RowOrder& result)
    : order_(order),
      decoded_(decoded),
      result_(result),
      ties_(order),
      stream_(order.rows() * static_cast<std::int64_t>(sizeof(Code)) >= sort_config::kStreamBytes) {
}

void OrderWriter::write(int bucket, Range rows, const LocalSorter& sorter,
                        const std::int64_t* numbers) {
  if (order_.exact()) {
    result_.in_order[size_of(bucket)] = sorter.in_order() ? 1 : 0;
    write_blocks(rows, sorter);
  } else {
    write_settled(rows, sorter, numbers);
  }
  finish_streams();
}

void OrderWriter::write_in_order(int bucket, Range rows, std::span<const Code> words) {
  result_.in_order[size_of(bucket)] = 1;
  decode(rows.begin, words);
  finish_streams();
}

void OrderWriter::write_blocks(Range rows, const LocalSorter& sorter) {
  if (sorter.in_order() && decoded_.empty()) return;
  for (std::int64_t first = 0; first < rows.size(); first += kBlock) {
    const std::int64_t count = std::min(kBlock, rows.size() - first);
    sorter.read(first, count, index_.data(), words_.data());
    if (!sorter.in_order()) write_index(rows.begin + first, {index_.data(), size_of(count)});
    decode(rows.begin + first, {words_.data(), size_of(count)});
  }
}

// Ties may reach from any row to any other, so the whole bucket is read first.
void OrderWriter::write_settled(Range rows, const LocalSorter& sorter,
                                const std::int64_t* numbers) {
  const std::size_t size = size_of(rows.size());
  all_words_.resize(size);
  all_index_.resize(size);
  all_numbers_.resize(size);
  sorter.read(0, rows.size(), all_index_.data(), all_words_.data());
  for (std::size_t i = 0; i < size; ++i) all_numbers_[i] = numbers[all_index_[i]];
  ties_.settle(all_words_, all_numbers_, all_index_);
  write_index(rows.begin, all_index_);
  decode(rows.begin, all_words_);
}

void OrderWriter::write_index(std::int64_t position, std::span<const std::uint32_t> index) {
  if (result_.wide.size() > 0) {
    std::copy(index.begin(), index.end(), result_.wide.data() + position);
  } else {
    std::transform(index.begin(), index.end(), result_.narrow.data() + position,
                   [](std::uint32_t value) { return static_cast<std::uint16_t>(value); });
  }
}

void OrderWriter::decode(std::int64_t position, std::span<const Code> words) {
  for (std::size_t first = 0; first < words.size(); first += kBlock) {
    const auto block = words.subspan(first, std::min(size_of(kBlock), words.size() - first));
    for (const DecodedColumn& column : decoded_) {
      decode_block(column, position + static_cast<std::int64_t>(first), block);
    }
  }
}

// Values are made in L1 and copied from there: they can then be stored past the caches.
void OrderWriter::decode_block(const DecodedColumn& column, std::int64_t position,
                               std::span<const Code> words) {
  const KeyOrder::Field& field = column.field;
  const auto count = static_cast<std::int64_t>(words.size());
  const Code* codes = words.data();
  if (!field.whole) {
    for (std::size_t i = 0; i < words.size(); ++i) codes_[i] = field.of(words[i]);
    codes = codes_.data();
  }
  std::byte* out = column.out + position * column.width;
  if (!stream_) return field.coder->decode(codes, count, out);
  auto* values = reinterpret_cast<std::byte*>(values_.data());
  field.coder->decode(codes, count, values);
  stream_bytes(out, values, count * column.width);
}

}  // namespace elevon::kernel

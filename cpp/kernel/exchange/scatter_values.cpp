// Scatters fixed-width values, bits and null bitmaps.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>

#include "kernel/base/config.hpp"
#include "kernel/base/stream_store.hpp"
#include "kernel/exchange/partition_simd.hpp"
#include "kernel/exchange/scatter.hpp"

namespace elevon::kernel {
namespace {

using arrow::Layout;

std::size_t at(int partition) {
  return static_cast<std::size_t>(partition);
}

template <std::size_t Width>
struct Value {
  std::array<std::byte, Width> bytes;
};

// out[i] = values[rows[i]]: the reads hit the cache, the writes go on in one direction.
template <std::size_t Width>
void copy_run(const std::byte* values, const std::uint16_t* rows, std::int64_t count,
              std::byte* out) {
  const auto* source = reinterpret_cast<const Value<Width>*>(values);
  auto* target = reinterpret_cast<Value<Width>*>(out);
  for (std::int64_t row = 0; row < count; ++row) target[row] = source[rows[row]];
}

void copy_words(const std::byte* values, const std::uint16_t* rows, std::int64_t count,
                std::byte* out) {
  if (count * 8 < config::kStreamBytes) return copy_run<8>(values, rows, count, out);
  stream_run(reinterpret_cast<const std::uint64_t*>(values), rows, count,
             reinterpret_cast<std::uint64_t*>(out));
}

void copy_bytes_run(const std::byte* values, std::int64_t width, const std::uint16_t* rows,
                    std::int64_t count, std::byte* out) {
  for (std::int64_t row = 0; row < count; ++row) {
    std::memcpy(out + row * width, values + rows[row] * width, static_cast<std::size_t>(width));
  }
}

void copy_values(const std::byte* values, std::int64_t width, const std::uint16_t* rows,
                 std::int64_t count, std::byte* out) {
  switch (width) {
    case 1: return copy_run<1>(values, rows, count, out);
    case 2: return copy_run<2>(values, rows, count, out);
    case 4: return copy_run<4>(values, rows, count, out);
    case 8: return copy_words(values, rows, count, out);
    case 16: return copy_run<16>(values, rows, count, out);
    default: return copy_bytes_run(values, width, rows, count, out);
  }
}

class FixedScatterer : public Scatterer {
 public:
  FixedScatterer(const arrow::Column& column, const RowMap& map)
      : column_(column),
        map_(map),
        width_(column.type().width),
        compresses_(can_compress(width_, map.partitions())),
        validity_(column, map.partitions()),
        buffers_(at(map.partitions())),
        targets_(at(map.partitions())) {}

  [[nodiscard]] bool needs_order() const override { return !compresses_ || validity_.has_nulls(); }

  void plan(FrameLayout& layout, int partition) override {
    validity_.plan(layout, partition);
    buffers_[at(partition)] = layout.add_buffer(map_.size(partition) * width_);
  }

  void place(const FrameLayout& layout, std::byte* frame, int partition) override {
    validity_.place(layout, frame, partition);
    targets_[at(partition)] = layout.at(frame, buffers_[at(partition)]);
  }

  void scatter(const Block& block) override {
    const BlockChunk chunk = chunk_of(column_, block);
    const std::byte* values = chunk.array.buffers[0] + (chunk.array.offset + chunk.row) * width_;
    if (validity_.has_nulls()) validity_.scatter(block, chunk);
    if (compresses_) return compress_block(block, values);
    block.each(
        [&](int partition, const std::uint16_t* rows, std::int64_t count, std::int64_t position) {
          copy_values(values, width_, rows, count, targets_[at(partition)] + position * width_);
        });
  }

  void finish(FrameLayout& layout, int partition) override { validity_.finish(layout, partition); }

 private:
  void compress_block(const Block& block, const std::byte* values) const {
    std::array<std::byte*, kCompressPartitions> ends{};
    for (int partition = 0; partition < block.partitions; ++partition) {
      ends[at(partition)] = targets_[at(partition)] + block.positions[partition] * width_;
    }
    compress(values, width_, block.numbers, block.rows.size(), block.partitions, !block.roomy,
             ends.data());
  }

  const arrow::Column& column_;
  const RowMap& map_;
  std::int64_t width_;
  bool compresses_;
  ValidityScatter validity_;
  std::vector<std::size_t> buffers_;
  std::vector<std::byte*> targets_;
};

class BitsScatterer : public Scatterer {
 public:
  BitsScatterer(const arrow::Column& column, const RowMap& map)
      : column_(column),
        map_(map),
        validity_(column, map.partitions()),
        bits_(map.partitions()),
        buffers_(at(map.partitions())) {}

  void plan(FrameLayout& layout, int partition) override {
    validity_.plan(layout, partition);
    buffers_[at(partition)] = layout.add_buffer((map_.size(partition) + 63) / 64 * 8);
  }

  void place(const FrameLayout& layout, std::byte* frame, int partition) override {
    validity_.place(layout, frame, partition);
    bits_.place(layout.at(frame, buffers_[at(partition)]), map_.size(partition), partition);
  }

  void scatter(const Block& block) override {
    const BlockChunk chunk = chunk_of(column_, block);
    if (validity_.has_nulls()) validity_.scatter(block, chunk);
    bits_.scatter(block, [&](std::uint16_t row) { return chunk.array.bit(chunk.row + row); });
  }

  void finish(FrameLayout& layout, int partition) override { validity_.finish(layout, partition); }

 private:
  const arrow::Column& column_;
  const RowMap& map_;
  ValidityScatter validity_;
  BitScatter bits_;
  std::vector<std::size_t> buffers_;
};

}  // namespace

BlockChunk chunk_of(const arrow::Column& column, const Block& block) {
  const auto& starts = column.starts();
  const auto after = std::upper_bound(starts.begin(), starts.end(), block.rows.begin);
  const auto index = static_cast<std::size_t>(after - starts.begin() - 1);
  return {*column.chunks()[index], block.rows.begin - starts[index]};
}

void BitScatter::place(std::byte* words, std::int64_t rows, int partition) {
  std::memset(words, 0, static_cast<std::size_t>((rows + 63) / 64 * 8));
  words_[at(partition)] = reinterpret_cast<std::uint64_t*>(words);
}

std::uint64_t BitScatter::flush(int partition, std::int64_t position, std::uint64_t word) const {
  // The row after the last one of the run may already lie in the next word.
  const std::int64_t index = ((position & 63) == 63 ? position : position - 1) >> 6;
  std::atomic_ref<std::uint64_t> shared(words_[at(partition)][index]);
  shared.fetch_or(word, std::memory_order_relaxed);
  return 0;
}

std::int64_t BitScatter::count(int partition, std::int64_t rows) const {
  std::int64_t ones = 0;
  for (std::int64_t word = 0; word < (rows + 63) / 64; ++word) {
    ones += std::popcount(words_[at(partition)][word]);
  }
  return ones;
}

ValidityScatter::ValidityScatter(const arrow::Column& column, int partitions)
    : has_nulls_(column.null_count() > 0),
      bits_(partitions),
      nodes_(at(partitions)),
      buffers_(at(partitions)),
      rows_(at(partitions)) {}

void ValidityScatter::plan(FrameLayout& layout, int partition) {
  const std::int64_t rows = layout.rows();
  rows_[at(partition)] = rows;
  nodes_[at(partition)] = layout.add_node(rows, 0);
  buffers_[at(partition)] = layout.add_buffer(has_nulls_ ? (rows + 63) / 64 * 8 : 0);
}

void ValidityScatter::place(const FrameLayout& layout, std::byte* frame, int partition) {
  if (!has_nulls_) return;
  bits_.place(layout.at(frame, buffers_[at(partition)]), rows_[at(partition)], partition);
}

void ValidityScatter::scatter(const Block& block, const BlockChunk& chunk) const {
  bits_.scatter(block, [&](std::uint16_t row) { return chunk.array.is_valid(chunk.row + row); });
}

void ValidityScatter::finish(FrameLayout& layout, int partition) const {
  if (!has_nulls_) return;
  const std::int64_t rows = rows_[at(partition)];
  layout.set_null_count(nodes_[at(partition)], rows - bits_.count(partition, rows));
}

ScattererPtr scatter_values(const arrow::Column& column, const RowMap& map) {
  if (column.type().layout == Layout::Bits) return std::make_unique<BitsScatterer>(column, map);
  return std::make_unique<FixedScatterer>(column, map);
}

}  // namespace elevon::kernel

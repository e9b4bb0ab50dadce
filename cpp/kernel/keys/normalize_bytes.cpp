// Codes of utf8, binary and fixed-size binary keys.
//
// Depth 0 is a code of the first bytes after the prefix that all values share.
// Ties go deeper: each further code is the next seven bytes and how many of them there are,
// after skipping what the tied rows share.

#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "kernel/base/config.hpp"
#include "kernel/keys/normalize_key.hpp"
#include "kernel/keys/prefix_columns.hpp"

namespace elevon::kernel {
namespace {

template <typename T>
Code load_big_endian(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  if constexpr (sizeof(T) == 8) {
    return __builtin_bswap64(value);
  } else {
    return __builtin_bswap32(value);
  }
}

// The first eight bytes as a number that orders like them; missing ones are zero.
Code first_bytes(std::string_view bytes) {
  const char* p = bytes.data();
  const auto size = static_cast<unsigned>(std::min<std::size_t>(bytes.size(), 8));
  if (size == 8) return load_big_endian<std::uint64_t>(p);
  if (size == 0) return 0;
  if (size >= 4) {
    const Code tail = load_big_endian<std::uint32_t>(p + size - 4) << (8 * (8 - size));
    return load_big_endian<std::uint32_t>(p) << 32 | tail;
  }
  const auto byte = [&](unsigned at) {
    return static_cast<Code>(static_cast<unsigned char>(p[at])) << (56 - 8 * at);
  };
  return byte(0) | byte(size / 2) | byte(size - 1);
}

std::string_view after(std::string_view bytes, std::int64_t count) {
  const auto skip = std::min(bytes.size(), static_cast<std::size_t>(count));
  return {bytes.data() + skip, bytes.size() - skip};
}

template <typename Reader>
class BytesCoder final : public KeyCoder {
 public:
  BytesCoder(const SortKey& key, int threads)
      : column_(*key.column), flip_(key.ascending ? 0 : ~Code{0}) {
    for (const auto& chunk : column_.chunks()) readers_.emplace_back(*chunk);
    const std::array columns{key.column};
    const PrefixCode prefix = measure_prefix(columns, threads);
    skip_ = prefix.skip();
    exact_ = prefix.exact();
    // Codes are made once: reading the values again costs more than 8 bytes a row.
    codes_ = encode_prefix(column_, prefix, threads);
    if (codes_.low > codes_.high) return;  // nulls only
    base_ = flip_ == 0 ? codes_.low : ~codes_.high;
    bits_ = static_cast<int>(std::bit_width(codes_.high - codes_.low));
  }

  void encode(Range rows, Code* out) const override {
    const Code* codes = codes_.codes.data() + rows.begin;
    for (std::int64_t i = 0; i < rows.size(); ++i) out[i] = (codes[i] ^ flip_) - base_;
    if (column_.null_count() == 0) return;
    for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t at) {
      clear_nulls(array, in, out + at);
    });
  }

  void encode_rows(std::span<const std::int64_t> rows, std::int64_t depth,
                   Code* out) const override {
    if (depth == 0) {
      for (const std::int64_t row : rows) encode({row, row + 1}, out++);
      return;
    }
    for_rows(rows, depth - 1, [&](std::string_view value) {
      const std::string_view rest = after(value, depth - 1);
      *out++ = ((first_bytes(rest) & ~Code{0xFF}) | std::min<std::size_t>(rest.size(), 8)) ^ flip_;
    });
  }

  // A depth is one more than the number of bytes that the rows share.
  [[nodiscard]] std::int64_t next_depth(std::span<const std::int64_t> rows,
                                        std::int64_t depth) const override {
    ChunkFinder finder(column_);
    const auto place = finder.find(rows[0]);
    if (exact_ || !column_.chunks()[place.chunk]->is_valid(place.row)) return kEqual;
    const std::string_view first = readers_[place.chunk](place.row);
    const std::int64_t known = depth == 0 ? skip_ : depth - 1;
    auto shared = static_cast<std::int64_t>(first.size());
    bool equal = true;
    for_rows(rows.subspan(1), known, [&](std::string_view other) {
      shared = shared_prefix(first, other, std::min(known, shared), shared);
      equal &= other.size() == first.size();
    });
    return equal && shared == static_cast<std::int64_t>(first.size()) ? kEqual : shared + 1;
  }

 private:
  [[nodiscard]] std::string_view value(ChunkFinder& finder, std::int64_t row) const {
    const auto place = finder.find(row);
    return readers_[place.chunk](place.row);
  }

  // Calls f with the values of any rows, of which byte `from` is read first. They lie far apart:
  // without fetching them ahead each would be waited for.
  template <typename F>
  void for_rows(std::span<const std::int64_t> rows, std::int64_t from, F&& f) const {
    constexpr std::size_t kAhead = config::kPrefetchDistance;
    ChunkFinder finder(column_);
    ChunkFinder ahead(column_);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (i + kAhead < rows.size()) {
        __builtin_prefetch(after(value(ahead, rows[i + kAhead]), from).data());
      }
      f(value(finder, rows[i]));
    }
  }

  const arrow::Column& column_;
  Code flip_;
  std::vector<Reader> readers_;
  std::int64_t skip_ = 0;  // bytes that all values share
  PrefixCodes codes_;
  Code base_ = 0;
};

}  // namespace

std::unique_ptr<KeyCoder> make_bytes_coder(const SortKey& key, int threads) {
  switch (key.column->type().layout) {
    case arrow::Layout::Offsets32:
      return std::make_unique<BytesCoder<arrow::OffsetReader<std::int32_t>>>(key, threads);
    case arrow::Layout::Offsets64:
      return std::make_unique<BytesCoder<arrow::OffsetReader<std::int64_t>>>(key, threads);
    case arrow::Layout::Views: return std::make_unique<BytesCoder<arrow::ViewReader>>(key, threads);
    default: return std::make_unique<BytesCoder<arrow::FixedReader>>(key, threads);
  }
}

}  // namespace elevon::kernel

// Codes of utf8, binary and fixed-size binary keys.
// Before it: normalize_key, prefix_code. After it: normalize.
//
// Depth 0 is a code of the first bytes after the prefix that all values share (prefix_code).
// Ties go deeper: each further code is the next seven bytes and how many of them there are,
// after skipping what the tied rows share.

#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "kernel/buffer.hpp"
#include "kernel/normalize_key.hpp"
#include "kernel/prefix_code.hpp"

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

// How many bytes two values share, looking no further than `limit` and not before `from`.
std::int64_t shared_prefix(std::string_view a, std::string_view b, std::int64_t from,
                           std::int64_t limit) {
  const auto end = std::min({static_cast<std::int64_t>(std::min(a.size(), b.size())), limit});
  std::int64_t at = from;
  for (; at + 8 <= end; at += 8) {
    const Code differ = load_big_endian<std::uint64_t>(a.data() + at) ^
                        load_big_endian<std::uint64_t>(b.data() + at);
    if (differ != 0) return at + std::countl_zero(differ) / 8;
  }
  while (at < end && a[static_cast<std::size_t>(at)] == b[static_cast<std::size_t>(at)]) ++at;
  return at;
}

template <typename Reader>
class BytesCoder final : public KeyCoder {
 public:
  BytesCoder(const SortKey& key, int threads)
      : column_(*key.column), flip_(key.ascending ? 0 : ~Code{0}), threads_(threads) {
    for (const auto& chunk : column_.chunks()) readers_.emplace_back(*chunk);
    if (!find_first()) return;
    measure();
    materialise();
  }

  void encode(Range rows, Code* out) const override {
    if (codes_.size() == 0) return static_cast<void>(std::fill_n(out, rows.size(), 0));
    const Code* codes = codes_.data() + rows.begin;
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
    ChunkFinder finder(column_);
    for (const std::int64_t row : rows) {
      const std::string_view rest = after(value(finder, row), depth - 1);
      *out++ = ((first_bytes(rest) & ~Code{0xFF}) | std::min<std::size_t>(rest.size(), 8)) ^ flip_;
    }
  }

  // A depth is one more than the number of bytes that the rows share.
  [[nodiscard]] std::int64_t next_depth(std::span<const std::int64_t> rows,
                                        std::int64_t depth) const override {
    ChunkFinder finder(column_);
    const auto place = finder.find(rows[0]);
    if (exact_ || !column_.chunks()[place.chunk]->is_valid(place.row)) return kEqual;
    const std::string_view first = readers_[place.chunk](place.row);
    const std::int64_t known = depth == 0 ? prefix_.skip() : depth - 1;
    auto shared = static_cast<std::int64_t>(first.size());
    bool equal = true;
    for (const std::int64_t row : rows.subspan(1)) {
      const std::string_view other = value(finder, row);
      shared = shared_prefix(first, other, std::min(known, shared), shared);
      equal &= other.size() == first.size();
    }
    return equal && shared == static_cast<std::int64_t>(first.size()) ? kEqual : shared + 1;
  }

 private:
  [[nodiscard]] std::string_view value(ChunkFinder& finder, std::int64_t row) const {
    const auto place = finder.find(row);
    return readers_[place.chunk](place.row);
  }

  // The first value that is not null; false if there is none.
  bool find_first() {
    for (std::size_t chunk = 0; chunk < readers_.size(); ++chunk) {
      const arrow::Array& array = *column_.chunks()[chunk];
      for (std::int64_t row = 0; row < array.length; ++row) {
        if (!array.is_valid(row)) continue;
        first_ = readers_[chunk](row);
        return true;
      }
    }
    return false;
  }

  // Calls f(value, row) for every row of a part that is not null.
  template <typename F>
  void for_values(int part, F&& f) const {
    const Range rows = part_of(column_.length(), threads_, part);
    for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t at) {
      const Reader reader(array);
      const std::int64_t shift = rows.begin + at - in.begin;
      for (std::int64_t row = in.begin; row < in.end; ++row) {
        if (!array.is_valid(row)) continue;
        f(Chars{reader(row).data(), reader.size(row), reader.room(row)}, row + shift);
      }
    });
  }

  // What the values hold after byte `from`.
  [[nodiscard]] ByteRanges ranges_after(std::int64_t from) const {
    std::vector<ByteRanges> parts(static_cast<std::size_t>(threads_));
    parallel(threads_, [&](int part) {
      ByteRanges ranges;
      for_values(part, [&](Chars value, std::int64_t) { ranges.add(value.after(from)); });
      parts[static_cast<std::size_t>(part)] = ranges;
    });
    for (const ByteRanges& part : std::span(parts).subspan(1)) parts[0].add(part);
    return parts[0];
  }

  // The length of the prefix that all values share, whatever it is.
  [[nodiscard]] std::int64_t long_prefix() const {
    std::vector<std::int64_t> parts(static_cast<std::size_t>(threads_));
    parallel(threads_, [&](int part) {
      auto shared = static_cast<std::int64_t>(first_.size());
      for_values(part, [&](Chars value, std::int64_t) {
        const std::string_view bytes{value.data, static_cast<std::size_t>(value.size)};
        shared = shared_prefix(first_, bytes, 0, shared);
      });
      parts[static_cast<std::size_t>(part)] = shared;
    });
    return *std::min_element(parts.begin(), parts.end());
  }

  // One look at the values is enough, unless what they share leaves the code too few of the places
  // that were looked at.
  void measure() {
    std::int64_t from = 0;
    ByteRanges ranges = ranges_after(0);
    if (ranges.shared() > ByteRanges::kPlaces - PrefixCode::kPlaces) {
      from = long_prefix();
      ranges = ranges_after(from);
    }
    prefix_ = PrefixCode(ranges, from, from > 0 ? 0 : ranges.shared());
    exact_ = prefix_.exact();
  }

  // Codes are made once: reading the values again costs more than 8 bytes a row.
  void materialise() {
    struct Bounds {
      Code low = ~Code{0};
      Code high = 0;
    };
    codes_ = OwnedArray<Code>(column_.length());
    std::vector<Bounds> parts(static_cast<std::size_t>(threads_));
    parallel(threads_, [&](int part) {
      Bounds bounds;
      const PrefixCode prefix = prefix_;
      Code* codes = codes_.data();
      for_values(part, [&](Chars value, std::int64_t row) {
        const Code code = prefix(value);
        codes[row] = code;
        bounds = {std::min(bounds.low, code), std::max(bounds.high, code)};
      });
      parts[static_cast<std::size_t>(part)] = bounds;
    });
    Bounds all;
    for (const Bounds& part : parts) {
      all = {std::min(all.low, part.low), std::max(all.high, part.high)};
    }
    base_ = flip_ == 0 ? all.low : ~all.high;
    bits_ = static_cast<int>(std::bit_width(all.high - all.low));
  }

  const arrow::Column& column_;
  Code flip_;
  int threads_;
  std::vector<Reader> readers_;
  std::string_view first_;
  PrefixCode prefix_;
  OwnedArray<Code> codes_;
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

// Codes of utf8, binary and fixed-size binary keys.
// Before it: normalize_key. After it: normalize.
//
// Depth 0 is a code of the first bytes after the prefix that all values share, with as few bits
// per byte as its range needs (digits: 4, lower-case letters: 5), so one word holds 8 to 16 bytes.
// Ties go deeper: each further code is the next seven bytes and how many of them there are,
// after skipping what the tied rows share.

#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <utility>

#include "kernel/buffer.hpp"
#include "kernel/normalize_key.hpp"

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

constexpr int kGroup = 8;    // bytes that are packed at once
constexpr int kWindow = 16;  // bytes that depth 0 may cover

// What the values hold at kGroup neighbouring places. A place that some value does not reach is
// coded 0 there, and every byte counts from 1.
struct ByteRange {
  std::array<std::uint8_t, kGroup> low;
  std::array<std::uint8_t, kGroup> high;
  bool ended = false;

  ByteRange() {
    low.fill(0xFF);
    high.fill(0);
  }
  void add(std::string_view bytes) {
    std::array<char, kGroup> padded{};
    const Code word = first_bytes(bytes);
    std::memcpy(padded.data(), &word, sizeof word);
    const Code missing = bytes.size() >= kGroup ? 0 : ~Code{0} >> (8 * bytes.size());
    const Code lifted = word | missing;
    std::array<std::uint8_t, kGroup> lows;
    std::array<std::uint8_t, kGroup> highs;
    std::memcpy(lows.data(), &lifted, sizeof lifted);
    std::memcpy(highs.data(), &word, sizeof word);
    for (std::size_t i = 0; i < kGroup; ++i) low[i] = std::min(low[i], lows[i]);
    for (std::size_t i = 0; i < kGroup; ++i) high[i] = std::max(high[i], highs[i]);
    ended |= bytes.size() < kGroup;
  }
  void add(const ByteRange& other) {
    for (std::size_t i = 0; i < kGroup; ++i) low[i] = std::min(low[i], other.low[i]);
    for (std::size_t i = 0; i < kGroup; ++i) high[i] = std::max(high[i], other.high[i]);
    ended |= other.ended;
  }
};

// Packs the symbols of one group: each byte less its offset, in `width` bits.
class Packer {
 public:
  Packer() = default;
  explicit Packer(const ByteRange& range) {
    std::array<std::uint8_t, kGroup> offsets{};
    for (std::size_t i = 0; i < kGroup; ++i) {
      if (range.low[i] > range.high[i]) continue;  // no value reaches this place
      const bool collides = range.ended && range.low[i] == 0;
      ambiguous_ |= collides;
      const int offset = range.low[i] - (range.ended && !collides ? 1 : 0);
      offsets[i] = static_cast<std::uint8_t>(offset);
      const auto symbol = static_cast<unsigned>(range.high[i] - offset);
      width_ = std::max(width_, static_cast<int>(std::bit_width(symbol)));
    }
    std::memcpy(&offsets_, offsets.data(), sizeof offsets_);
  }

  [[nodiscard]] int width() const { return width_; }
  // A zero byte and the end of a value look the same.
  [[nodiscard]] bool ambiguous() const { return ambiguous_; }

  [[nodiscard]] Code pack(std::string_view bytes) const {
    const Code present = bytes.size() >= kGroup ? ~Code{0} : ~(~Code{0} >> (8 * bytes.size()));
    Code word = first_bytes(bytes) - (offsets_ & present);
    constexpr Code kBytes = 0x00FF00FF00FF00FF;
    constexpr Code kPairs = 0x0000FFFF0000FFFF;
    constexpr Code kQuads = 0x00000000FFFFFFFF;
    word = ((word >> 8) & kBytes) << width_ | (word & kBytes);
    word = ((word >> 16) & kPairs) << (2 * width_) | (word & kPairs);
    return (word >> 32) << (4 * width_) | (word & kQuads);
  }

 private:
  Code offsets_ = 0;
  int width_ = 0;
  bool ambiguous_ = false;
};

// The code of depth 0: one group whole, and of the second one what fits.
class PrefixCode {
 public:
  PrefixCode() = default;
  PrefixCode(const std::array<ByteRange, 2>& ranges, std::int64_t skip)
      : first_(ranges[0]), second_(ranges[1]), skip_(skip) {
    // At most 56 bits: the first group then always moves by less than a word.
    const int left = std::min(64 - kGroup * first_.width(), 56);
    const int symbols = second_.width() == 0 ? kGroup : std::min(kGroup, left / second_.width());
    kept_ = symbols * second_.width();
    dropped_ = kGroup * second_.width() - kept_;
    covered_ = skip + kGroup + symbols;
  }

  [[nodiscard]] Code operator()(std::string_view bytes) const {
    const std::string_view rest = after(bytes, skip_);
    const Code code = first_.pack(rest);
    if (kept_ == 0) return code;
    return code << kept_ | second_.pack(after(rest, kGroup)) >> dropped_;
  }
  // True if the code alone tells values of at most `size` bytes apart.
  [[nodiscard]] bool exact(std::int64_t size) const {
    return size <= covered_ && !first_.ambiguous() && !second_.ambiguous();
  }

 private:
  Packer first_;
  Packer second_;
  std::int64_t skip_ = 0;
  std::int64_t covered_ = 0;
  int kept_ = 0;
  int dropped_ = 0;
};

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
    const std::int64_t known = depth == 0 ? skip_ : depth - 1;
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

  // Calls f(part, value, row) for every row of every part that is not null, on all threads.
  template <typename F>
  void for_values(F&& f) const {
    parallel(threads_, [&](int part) {
      const Range rows = part_of(column_.length(), threads_, part);
      std::int64_t chunk_start = rows.begin;
      for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t at) {
        const Reader reader(array);
        chunk_start = rows.begin + at;
        for (std::int64_t row = in.begin; row < in.end; ++row) {
          if (array.is_valid(row)) f(part, reader(row), chunk_start + row - in.begin);
        }
      });
    });
  }

  struct Measures {
    std::int64_t shared;
    std::int64_t longest = 0;
    std::array<ByteRange, 2> ranges;
  };

  // Finds the prefix that all values share, then the range of the bytes behind it.
  void measure() {
    std::vector<Measures> parts(static_cast<std::size_t>(threads_));
    for (Measures& part : parts) part.shared = static_cast<std::int64_t>(first_.size());
    for_values([&](int part, std::string_view bytes, std::int64_t) {
      auto& mine = parts[static_cast<std::size_t>(part)];
      mine.shared = shared_prefix(first_, bytes, 0, mine.shared);
      mine.longest = std::max(mine.longest, static_cast<std::int64_t>(bytes.size()));
    });
    skip_ = parts[0].shared;
    for (const Measures& part : parts) skip_ = std::min(skip_, part.shared);
    for_values([&](int part, std::string_view bytes, std::int64_t) {
      auto& mine = parts[static_cast<std::size_t>(part)];
      mine.ranges[0].add(after(bytes, skip_));
      mine.ranges[1].add(after(bytes, skip_ + kGroup));
    });
    for (std::size_t part = 1; part < parts.size(); ++part) {
      parts[0].longest = std::max(parts[0].longest, parts[part].longest);
      for (std::size_t i = 0; i < 2; ++i) parts[0].ranges[i].add(parts[part].ranges[i]);
    }
    prefix_ = PrefixCode(parts[0].ranges, skip_);
    exact_ = prefix_.exact(parts[0].longest);
  }

  // Codes are made once: reading the values again costs more than 8 bytes a row.
  void materialise() {
    codes_ = OwnedArray<Code>(column_.length());
    std::vector<std::pair<Code, Code>> bounds(static_cast<std::size_t>(threads_), {~Code{0}, 0});
    for_values([&](int part, std::string_view bytes, std::int64_t row) {
      const Code code = prefix_(bytes);
      codes_[row] = code;
      auto& [low, high] = bounds[static_cast<std::size_t>(part)];
      low = std::min(low, code);
      high = std::max(high, code);
    });
    auto [low, high] = bounds[0];
    for (const auto& [other_low, other_high] : bounds) {
      low = std::min(low, other_low);
      high = std::max(high, other_high);
    }
    base_ = flip_ == 0 ? low : ~high;
    bits_ = static_cast<int>(std::bit_width(high - low));
  }

  const arrow::Column& column_;
  Code flip_;
  int threads_;
  std::vector<Reader> readers_;
  std::string_view first_;
  std::int64_t skip_ = 0;
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

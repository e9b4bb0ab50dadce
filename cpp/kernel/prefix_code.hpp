// What the first bytes of all values of a column are made of, and a code of them that orders alike,
// with as few bits per byte as their range needs (digits: 4, lower-case letters: 5): one word holds
// 8 to 16 bytes. Before it: nothing. After it: normalize_bytes.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

namespace elevon::kernel {

// A value, of which `room` >= size bytes may be read.
struct Chars {
  const char* data;
  std::int64_t size;
  std::int64_t room;

  // What comes after `count` bytes.
  [[nodiscard]] Chars after(std::int64_t count) const {
    const std::int64_t skip = std::min(size, count);
    return {data + skip, size - skip, room - skip};
  }
};

// The first bytes of a value, at most `places`.
inline void copy_places(void* to, Chars value, std::int64_t places) {
  const auto count = static_cast<std::size_t>(std::min(value.size, places));
  if (count > 0) std::memcpy(to, value.data, count);
}

// The smallest and the largest byte at each of the first places of all values.
struct ByteRanges {
  static constexpr std::int64_t kPlaces = 32;

  std::array<std::uint8_t, kPlaces> low;
  std::array<std::uint8_t, kPlaces> high;
  std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
  std::int64_t longest = 0;

  ByteRanges() {
    low.fill(0xFF);
    high.fill(0);
  }

  void add(Chars value) {
    std::array<std::uint8_t, kPlaces> bytes;
    if (value.room >= kPlaces) {
      std::memcpy(bytes.data(), value.data, bytes.size());
    } else {
      bytes.fill(0);
      copy_places(bytes.data(), value, kPlaces);
    }
    const std::uint8_t* present = kPresent.data() + kPlaces - std::min(value.size, kPlaces);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const auto lifted = static_cast<std::uint8_t>(bytes[i] | ~present[i]);
      const auto lowered = static_cast<std::uint8_t>(bytes[i] & present[i]);
      low[i] = std::min(low[i], lifted);
      high[i] = std::max(high[i], lowered);
    }
    shortest = std::min(shortest, value.size);
    longest = std::max(longest, value.size);
  }

  void add(const ByteRanges& other) {
    for (std::size_t i = 0; i < low.size(); ++i) {
      low[i] = std::min(low[i], other.low[i]);
      high[i] = std::max(high[i], other.high[i]);
    }
    shortest = std::min(shortest, other.shortest);
    longest = std::max(longest, other.longest);
  }

  // Of the first places, how many hold the same in all values.
  [[nodiscard]] std::int64_t shared() const {
    const auto end = static_cast<std::size_t>(std::min(shortest, kPlaces));
    std::size_t same = 0;
    while (same < end && low[same] == high[same]) ++same;
    return static_cast<std::int64_t>(same);
  }

 private:
  // From kPlaces - n on: n bytes that are present, and kPlaces - n that are not.
  static constexpr std::array<std::uint8_t, 2 * kPlaces> kPresent = [] {
    std::array<std::uint8_t, 2 * kPlaces> mask{};
    std::fill_n(mask.begin(), kPlaces, std::uint8_t{0xFF});
    return mask;
  }();
};

// Packs the bytes at eight neighbouring places: each less its offset, in `width` bits. A place that
// a value does not reach is coded 0, and then every byte counts from 1.
class Packer {
 public:
  static constexpr std::int64_t kGroup = 8;

  Packer() = default;
  Packer(const ByteRanges& ranges, std::int64_t first) {
    const bool ended = ranges.shortest < first + kGroup;
    std::array<std::uint8_t, kGroup> offsets{};
    for (std::size_t i = 0; i < offsets.size(); ++i) {
      const std::uint8_t low = ranges.low[static_cast<std::size_t>(first) + i];
      const std::uint8_t high = ranges.high[static_cast<std::size_t>(first) + i];
      if (low > high) continue;  // no value reaches this place
      const bool collides = ended && low == 0;
      ambiguous_ |= collides;
      const int offset = low - (ended && !collides ? 1 : 0);
      offsets[i] = static_cast<std::uint8_t>(offset);
      width_ =
          std::max(width_, static_cast<int>(std::bit_width(static_cast<unsigned>(high - offset))));
    }
    std::memcpy(&offsets_, offsets.data(), sizeof offsets_);
    offsets_ = __builtin_bswap64(offsets_);
  }

  [[nodiscard]] int width() const { return width_; }
  // A zero byte and the end of a value look the same.
  [[nodiscard]] bool ambiguous() const { return ambiguous_; }

  // `word`: eight bytes, the first one highest, of which `count` belong to the value.
  [[nodiscard]] std::uint64_t pack(std::uint64_t word, std::int64_t count) const {
    const std::uint64_t present = present_bytes(count);
    word = (word & present) - (offsets_ & present);
    constexpr std::uint64_t kBytes = 0x00FF00FF00FF00FF;
    constexpr std::uint64_t kPairs = 0x0000FFFF0000FFFF;
    constexpr std::uint64_t kQuads = 0x00000000FFFFFFFF;
    word = ((word >> 8) & kBytes) << width_ | (word & kBytes);
    word = ((word >> 16) & kPairs) << (2 * width_) | (word & kPairs);
    return (word >> 32) << (4 * width_) | (word & kQuads);
  }

 private:
  // The highest `count` bytes. Two shifts, because a shift by all 64 bits is undefined.
  static std::uint64_t present_bytes(std::int64_t count) {
    const auto bits = 8 * std::clamp<std::int64_t>(count, 0, kGroup);
    return ~(~std::uint64_t{0} >> (bits / 2) >> (bits - bits / 2));
  }

  std::uint64_t offsets_ = 0;
  int width_ = 0;
  bool ambiguous_ = false;
};

// The code of 16 places behind a prefix that all values share: eight whole, and of the others what
// fits.
class PrefixCode {
 public:
  static constexpr std::int64_t kPlaces = 2 * Packer::kGroup;

  PrefixCode() = default;
  // `ranges` begin after byte `from` of the values; the code at `first` of the ranges.
  PrefixCode(const ByteRanges& ranges, std::int64_t from, std::int64_t first)
      : first_(ranges, first), second_(ranges, first + Packer::kGroup), skip_(from + first) {
    // At most 56 bits: the first group then always moves by less than a word.
    const int left = std::min(64 - kGroup * first_.width(), 56);
    const int symbols = second_.width() == 0 ? kGroup : std::min(kGroup, left / second_.width());
    kept_ = symbols * second_.width();
    dropped_ = kGroup * second_.width() - kept_;
    covered_ = skip_ + kGroup + symbols;
    exact_ = from + ranges.longest <= covered_ && !first_.ambiguous() && !second_.ambiguous();
  }

  // Bytes that every value begins with.
  [[nodiscard]] std::int64_t skip() const { return skip_; }
  // True if the code alone tells the values apart.
  [[nodiscard]] bool exact() const { return exact_; }

  [[nodiscard]] std::uint64_t operator()(Chars value) const {
    const Chars rest = value.after(skip_);
    std::array<std::uint64_t, 2> words{};
    if (rest.room >= kPlaces) {
      std::memcpy(words.data(), rest.data, sizeof words);
    } else {
      copy_places(words.data(), rest, kPlaces);
    }
    const std::uint64_t code = first_.pack(__builtin_bswap64(words[0]), rest.size);
    if (kept_ == 0) return code;
    const std::uint64_t more = second_.pack(__builtin_bswap64(words[1]), rest.size - kGroup);
    return code << kept_ | more >> dropped_;
  }

 private:
  static constexpr int kGroup = Packer::kGroup;

  Packer first_;
  Packer second_;
  std::int64_t skip_ = 0;
  std::int64_t covered_ = 0;
  int kept_ = 0;
  int dropped_ = 0;
  bool exact_ = true;
};

}  // namespace elevon::kernel

// What the first bytes of values are made of, and a code of them that orders alike: the bytes are
// digits, in a base as large as their range (10 for digits, 26 for lower-case letters), so that one
// word holds 8 to 16 of them.
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

// Packs the bytes at up to eight neighbouring places: each less its offset, as digits of one
// number. A place that a value does not reach is the digit 0, and then every byte counts from 1.
class Packer {
 public:
  static constexpr int kGroup = 8;
  __extension__ using Wide = unsigned __int128;

  Packer() = default;
  Packer(const ByteRanges& ranges, std::int64_t first, int places) : unused_(kGroup - places) {
    const bool ended = ranges.shortest < first + places;
    for (int i = 0; i < places; ++i) {
      const auto place = static_cast<std::size_t>(first + i);
      if (ranges.low[place] > ranges.high[place]) continue;  // no value reaches this place
      const bool collides = ended && ranges.low[place] == 0;
      ambiguous_ |= collides;
      const unsigned offset = ranges.low[place] - (ended && !collides ? 1U : 0U);
      offsets_ |= std::uint64_t{offset} << (8 * i);
      radix_ = std::max(radix_, std::uint64_t{ranges.high[place] - offset + 1});
    }
    square_ = radix_ * radix_;
    fourth_ = square_ * square_;
  }

  // Codes are below this, 2^64 at most.
  [[nodiscard]] Wide size() const {
    Wide size = 1;
    for (int i = unused_; i < kGroup; ++i) size *= radix_;
    return size;
  }
  // A zero byte and the end of a value look the same.
  [[nodiscard]] bool ambiguous() const { return ambiguous_; }
  [[nodiscard]] int places() const { return kGroup - unused_; }
  // The base of the digits, and what is taken off each byte (bytes of a word in memory).
  [[nodiscard]] std::uint64_t radix() const { return radix_; }
  [[nodiscard]] std::uint64_t offsets() const { return offsets_; }

  // `word`: eight bytes as they lie in memory. `present`: all bits of those that belong to the
  // value. Neighbours are joined to numbers of twice the width, all in one word at once: none
  // overflows its part.
  [[nodiscard]] std::uint64_t pack(std::uint64_t word, std::uint64_t present) const {
    word = ((word & present) - (offsets_ & present)) << (8 * unused_);
    constexpr std::uint64_t kBytes = 0x00FF00FF00FF00FF;
    constexpr std::uint64_t kPairs = 0x0000FFFF0000FFFF;
    constexpr std::uint64_t kQuads = 0x00000000FFFFFFFF;
    word = (word & kBytes) * radix_ + ((word >> 8) & kBytes);
    word = (word & kPairs) * square_ + ((word >> 16) & kPairs);
    return (word & kQuads) * fourth_ + (word >> 32);
  }

 private:
  std::uint64_t offsets_ = 0;
  std::uint64_t radix_ = 1;
  std::uint64_t square_ = 1;
  std::uint64_t fourth_ = 1;
  int unused_ = 0;
  bool ambiguous_ = false;
};

// The code of up to 16 places behind a prefix that all values share: eight, and of the next eight
// as many as fit a word.
class PrefixCode {
 public:
  static constexpr std::int64_t kPlaces = 2 * Packer::kGroup;

  PrefixCode() = default;
  // `ranges` begin after byte `from` of the values, the code at place `first` of the ranges.
  PrefixCode(const ByteRanges& ranges, std::int64_t from, std::int64_t first)
      : first_(ranges, first, kGroup), skip_(from + first) {
    int places = kGroup;
    second_ = Packer(ranges, first + kGroup, places);
    // A quotient, because the product of both sizes may not even fit 128 bits.
    while (second_.size() > (Packer::Wide{1} << 64) / first_.size()) {
      second_ = Packer(ranges, first + kGroup, --places);
    }
    scale_ = static_cast<std::uint64_t>(second_.size());
    exact_ = from + ranges.longest <= skip_ + kGroup + places && !first_.ambiguous() &&
             !second_.ambiguous();
  }

  // Bytes that every value begins with.
  [[nodiscard]] std::int64_t skip() const { return skip_; }
  // A code is that of the first places, times the scale, and that of the second ones.
  [[nodiscard]] const Packer& first() const { return first_; }
  [[nodiscard]] const Packer& second() const { return second_; }
  [[nodiscard]] std::uint64_t scale() const { return scale_; }
  // True if the code alone tells the values apart.
  [[nodiscard]] bool exact() const { return exact_; }

  [[nodiscard]] std::uint64_t operator()(Chars value) const {
    const Chars rest{value.data + skip_, value.size - skip_, value.room - skip_};
    std::array<std::uint64_t, 2> words;
    if (rest.room >= kPlaces) {
      std::memcpy(words.data(), rest.data, sizeof words);
    } else {
      words.fill(0);
      copy_places(words.data(), rest, kPlaces);
    }
    const auto& present = kPresent[static_cast<std::size_t>(std::min(rest.size, kPlaces))];
    const std::uint64_t code = first_.pack(words[0], present[0]);
    if (second_.places() == 0) return code;
    return code * scale_ + second_.pack(words[1], present[1]);
  }

 private:
  static constexpr int kGroup = Packer::kGroup;
  // The first n bytes of two words.
  static constexpr auto kPresent = [] {
    std::array<std::array<std::uint64_t, 2>, kPlaces + 1> present{};
    for (std::size_t count = 1; count < present.size(); ++count) {
      present[count] = present[count - 1];
      present[count][(count - 1) / kGroup] |= std::uint64_t{0xFF} << (count - 1) % kGroup * 8;
    }
    return present;
  }();

  Packer first_;
  Packer second_;
  std::int64_t skip_ = 0;
  std::uint64_t scale_ = 1;  // codes of the second group
  bool exact_ = true;
};

}  // namespace elevon::kernel

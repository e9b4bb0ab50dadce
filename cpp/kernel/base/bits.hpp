// Words of bitmaps.
#pragma once

#include <cstdint>
#include <cstring>

namespace elevon::kernel {

// `count` <= 64 bits from bit `at` on; higher bits of the result are 0. Reads no byte that holds
// none of these bits.
[[nodiscard]] inline std::uint64_t read_bits(const std::uint8_t* bits, std::int64_t at,
                                             std::int64_t count) {
  if (count <= 0) return 0;
  const std::uint8_t* first = bits + (at >> 3);
  const auto shift = static_cast<unsigned>(at & 7);
  const std::int64_t bytes = (static_cast<std::int64_t>(shift) + count + 7) >> 3;
  std::uint64_t word = 0;
  std::memcpy(&word, first, static_cast<std::size_t>(bytes < 8 ? bytes : 8));
  word >>= shift;
  if (bytes == 9) word |= std::uint64_t{first[8]} << (64 - shift);
  return count == 64 ? word : word & ((std::uint64_t{1} << count) - 1);
}

// Appends runs of bits to a bitmap of words. The words need not be zero before; `finish` writes
// the last one, with zeros above its bits.
class BitWriter {
 public:
  explicit BitWriter(std::byte* words) : words_(reinterpret_cast<std::uint64_t*>(words)) {}

  // The low `count` <= 64 bits of `bits`; higher ones must be 0.
  void append(std::uint64_t bits, std::int64_t count) {
    word_ |= bits << used_;
    if (used_ + count < 64) {
      used_ += count;
      return;
    }
    *words_++ = word_;
    const std::int64_t taken = 64 - used_;
    word_ = taken == 64 ? 0 : bits >> taken;
    used_ = count - taken;
  }

  // `count` bits from bit `at` of `source` on; all ones where there is no source.
  void append(const std::uint8_t* source, std::int64_t at, std::int64_t count) {
    for (std::int64_t done = 0; done < count; done += 64) {
      const std::int64_t step = count - done < 64 ? count - done : 64;
      const std::uint64_t ones = step == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << step) - 1;
      append(source == nullptr ? ones : read_bits(source, at + done, step), step);
    }
  }

  void finish() {
    if (used_ > 0) *words_ = word_;
  }

 private:
  std::uint64_t* words_;
  std::uint64_t word_ = 0;
  std::int64_t used_ = 0;
};

}  // namespace elevon::kernel

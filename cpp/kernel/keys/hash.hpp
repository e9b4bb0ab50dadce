// Hashes of key rows: by value, strongly mixed, the same on every machine and in every version.
//
// Equal values hash equal whatever their form: integers (and bool, dates, times) of every width
// as int64, float16/32/64 as double with one zero and one NaN, utf8/large_utf8/views/binary and
// fixed-size binary by their bytes, dictionaries as the values they stand for. Decimals hash by
// their unscaled value. A null (also one inside a dictionary) has a fixed hash. Whoever compares
// rows must bring both sides to one logical type first: 1 and 1.0 hash differently.
//
// Bits: `partition` spends the highest ones (it multiplies); a kernel that partitions further
// takes the lowest, so that rows of one rank still spread over its buckets.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/base/buffer.hpp"
#include "kernel/base/parallel.hpp"

namespace elevon::kernel {

inline constexpr std::uint64_t kHashSeed = 0x9E3779B97F4A7C15ULL;
inline constexpr std::uint64_t kNullWord = 0xD6E8FEB86659FD93ULL;

// A bijection of 64-bit words (Pelle Evensen's "moremur" constants): one integer key column can be
// joined on its hashes alone.
// https://mostlymangling.blogspot.com/2019/12/stronger-better-morer-moremur-better.html
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t word) {
  word ^= word >> 27;
  word *= 0x3C79AC492BA7B653ULL;
  word ^= word >> 33;
  word *= 0x1C69B3F74AC4AE35ULL;
  word ^= word >> 27;
  return word;
}

// Hash of a row so far, with one more word. The first column starts from kHashSeed.
[[nodiscard]] constexpr std::uint64_t combine(std::uint64_t hash, std::uint64_t word) {
  return mix64(hash * 0xD1342543DE82EF95ULL + word);
}

// The word of a floating-point value: -0.0 as 0.0, every NaN as one.
[[nodiscard]] inline std::uint64_t float_word(double value) {
  if (value != value) return 0x7FF8000000000000ULL;
  return std::bit_cast<std::uint64_t>(value == 0.0 ? 0.0 : value);
}

// The word of a string of bytes.
[[nodiscard]] std::uint64_t bytes_word(std::string_view bytes);

// Hashes rows of key columns, block by block. Dictionaries are hashed once, on construction. The
// columns must outlive it; it may be used by several threads at once.
class RowHasher {
 public:
  // Throws std::invalid_argument for a key type that cannot be hashed (nested types).
  explicit RowHasher(std::span<const arrow::Column* const> keys);

  // Hashes of rows [rows.begin, rows.end) into out[0 .. rows.size()).
  void operator()(Range rows, std::uint64_t* out) const;

 private:
  struct Key {
    const arrow::Column* column;
    OwnedArray<std::uint64_t> dictionary_words;  // one per entry, for dictionary columns
  };
  std::vector<Key> keys_;
};

// The hashes of all rows.
[[nodiscard]] OwnedArray<std::uint64_t> hash_rows(std::span<const arrow::Column* const> keys,
                                                  int threads);

}  // namespace elevon::kernel

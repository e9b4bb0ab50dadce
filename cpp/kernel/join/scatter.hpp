// Whole columns in the order of partitions: scattered like the keys, so that a partition's values
// are read from cache, not from all over memory.
#pragma once

#include <span>

#include "arrow/view.hpp"
#include "kernel/join/partition.hpp"

namespace elevon::kernel {

// True for values of 1, 2, 4, 8 or 16 bytes and for dictionary indices.
[[nodiscard]] bool has_common_width(const arrow::Type& type);

// True if scatter_column gives the column's own type: for common widths and strings with offsets.
[[nodiscard]] bool keeps_type(const arrow::Column& column);

// A column of any type that can be a key, by position and in one chunk (or none without rows). Its
// type is another one where it cannot be the same: bools are uint8, and what has neither a common
// width nor offsets that suffice has 64-bit offsets. The side must be scattered.
template <typename Index>
[[nodiscard]] arrow::Column scatter_column(const arrow::Column& column,
                                           const Placement<Index>& placement, int threads);

// The number of the row at each position of a scattered side.
template <typename Index>
[[nodiscard]] OwnedArray<Index> row_numbers(const Placement<Index>& placement);

struct PackedBits {
  arrow::Memory bits;
  std::int64_t zeros = 0;
};

// Bytes of 0 and 1 as a bitmap.
[[nodiscard]] PackedBits pack_bits(std::span<const std::uint8_t> bytes, int threads);

}  // namespace elevon::kernel

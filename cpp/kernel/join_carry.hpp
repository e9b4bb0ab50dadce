// Carries fixed-width columns through the partitioning: scattered like the keys, so that a
// partition's values are gathered from cache, not from all over memory. Before it: partition,
// match. After it: output.
#pragma once

#include <cstdint>
#include <span>

#include "arrow/view.hpp"
#include "kernel/buffer.hpp"
#include "kernel/join_match.hpp"
#include "kernel/join_partition.hpp"

namespace elevon::kernel {

// One side of the matches: where its rows lie, and its half of the pairs.
template <typename Index>
struct MatchedSide {
  const Placement<Index>* placement = nullptr;
  const Index* Segment<Index>::* positions = nullptr;
  bool may_miss = false;   // some results have no row of this side
  bool unordered = false;  // positions come in no order within a partition
};

// True for what carry_column can carry: values of 1, 2, 4, 8 or 16 bytes, dictionary indices too.
[[nodiscard]] bool can_carry(const arrow::Type& type);

// The column's values in every result row, null where the row of this side is missing. The side
// must be scattered.
template <typename Index>
[[nodiscard]] arrow::ArrayPtr carry_column(const arrow::Column& column,
                                           const MatchedSide<Index>& side,
                                           const Matches<Index>& matches, int threads);

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

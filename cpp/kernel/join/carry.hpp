// Values of one side in the order of the result, from a column in the order of partitions.
#pragma once

#include "arrow/view.hpp"
#include "kernel/join/match.hpp"
#include "kernel/join/partition.hpp"

namespace elevon::kernel {

// One side of the matches: where its rows lie, and its half of the pairs.
template <typename Index>
struct MatchedSide {
  const Placement<Index>* placement = nullptr;
  const Index* Segment<Index>::* positions = nullptr;
  bool may_miss = false;   // some results have no row of this side
  bool unordered = false;  // positions come in no order within a partition
};

// The values of a scattered column of 1, 2, 4, 8 or 16 bytes (dictionary indices too), null where
// the row of this side is missing.
template <typename Index>
[[nodiscard]] arrow::ArrayPtr carry_column(const arrow::Column& scattered,
                                           const MatchedSide<Index>& side,
                                           const Matches<Index>& matches, int threads);

}  // namespace elevon::kernel

// All matches of two sides: partition by partition, on all threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/join/pairs.hpp"
#include "kernel/join/partition.hpp"
#include "kernel/join/plan.hpp"
#include "kernel/join/probe.hpp"

namespace elevon::kernel {

template <typename Index>
struct Matches {
  std::vector<Segment<Index>> segments;  // by partition
  std::vector<PairChunk<Index>> chunks;  // their memory
  std::int64_t rows = 0;
  // Of an existence join: 1 for each probe position that has a partner.
  OwnedArray<std::uint8_t> probe_matched;
};

// Instantiated in match.cpp for every scheme and index.
template <typename Scheme, typename Index>
[[nodiscard]] Matches<Index> match_sides(const Side<Scheme, Index>& probe,
                                         const Side<Scheme, Index>& build, const Scheme& scheme,
                                         const Verifier<Index>& verifier, const MatchRules& rules,
                                         const JoinPlan& plan);

}  // namespace elevon::kernel

// Cuts sorted runs into pieces that merge on their own: each of about as many rows as a core merges
// in its cache, and all of a piece's rows before all of the next one's.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernel/keys/normalize.hpp"
#include "kernel/sort/config.hpp"

namespace elevon::kernel {

struct Pieces {
  int threads = 1;
  std::int64_t rows = 0;
  std::vector<Range> segments;             // rows of one run each; no two touch
  std::vector<std::size_t> first_segment;  // of each piece, and the end
  std::vector<std::int64_t> starts;        // of each piece in the result, and the number of rows
  std::vector<std::uint8_t> in_order;      // of each piece: its segments one after another are

  [[nodiscard]] int count() const { return static_cast<int>(in_order.size()); }
  [[nodiscard]] Range bucket(int index) const {
    const auto at = static_cast<std::size_t>(index);
    return {starts[at], starts[at + 1]};
  }
  [[nodiscard]] std::span<const Range> segments_of(int index) const {
    const auto at = static_cast<std::size_t>(index);
    return std::span(segments).subspan(first_segment[at],
                                       first_segment[at + 1] - first_segment[at]);
  }
  [[nodiscard]] std::int64_t largest() const;
};

// Run i is rows [bounds[i], bounds[i + 1]) of the order, each in order by itself.
[[nodiscard]] Pieces cut_runs(const KeyOrder& order, std::span<const std::int64_t> bounds,
                              int threads, const SortTuning& tuning);

}  // namespace elevon::kernel

// Stable merge of sorted tables.
//
// The tables become one with borders between runs; the runs are cut at common keys into pieces
// that fit a core's cache (merge_pieces), and each piece is brought into order there, by the
// same code that sorts a bucket (merge_order, columns). Any number of runs costs the same
// two passes over memory.
#pragma once

#include <span>

#include "arrow/table.hpp"
#include "kernel/sort/sort.hpp"

namespace elevon::kernel {

// One table of all rows in order of the keys; equal rows in the order of tables, then in that of
// their table. Each table must be in order already: if one is not, neither is the result.
// Tables that do not overlap come back one after another, without a copy.
// Throws std::invalid_argument: no table, unlike types, and what sort() throws.
[[nodiscard]] arrow::Table merge(std::span<const arrow::Table> tables,
                                 std::span<const KeySpec> keys, int threads,
                                 const SortTuning& tuning = {});

}  // namespace elevon::kernel

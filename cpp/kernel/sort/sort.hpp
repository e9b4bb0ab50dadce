// Stable sort of a table by several keys.
//
// An MSD radix sort in one step out of cache and the rest inside: keys become words (normalize),
// rows are dealt to buckets by the highest bits of their words (buckets, scatter), each
// bucket is sorted in cache (local, ties), and the columns follow (columns).
// Source of the scheme: O. Polychroniou, K. Ross, "A comprehensive study of main-memory
// partitioning and its application to large-scale comparison- and radix-sort", SIGMOD 2014.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/base/buffer.hpp"
#include "kernel/keys/normalize.hpp"
#include "kernel/sort/config.hpp"

namespace elevon::kernel {

// A key by its position in the table.
struct KeySpec {
  std::int64_t column = 0;
  bool ascending = true;
  bool nulls_first = false;
};

// The table in order of the keys, equal rows in their old order. -0.0 equals 0.0. Whatever the
// direction, NaN and nulls go to the end together (numbers, NaN, nulls), or with nulls_first to
// the beginning (nulls, NaN, numbers). A table that is in order already is returned as it is.
// Throws std::invalid_argument: no key, no such column, a key type without order.
[[nodiscard]] arrow::Table sort(const arrow::Table& table, std::span<const KeySpec> keys,
                                int threads, const SortTuning& tuning = {});

// The keys' columns in the table. Throws std::invalid_argument if there is no such column.
[[nodiscard]] std::vector<SortKey> find_keys(const arrow::Table& table,
                                             std::span<const KeySpec> keys);

// The rows of an order, first to last.
[[nodiscard]] OwnedArray<std::int64_t> sorted_rows(const KeyOrder& order, int threads);

}  // namespace elevon::kernel

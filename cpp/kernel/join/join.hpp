// Hash join of two tables, all in memory of one process. The phases, one file each: words and keys
// (columns to 64-bit codes), plan, partition (both sides to cache-sized parts), table and match
// (build and probe), output (columns).
//
// The scheme is that of the radix join (Manegold, Boncz, Kersten 2002; Balkesen et al. 2013), with
// payload columns carried through the partitioning one by one ("gather from transformed rows",
// Wu et al. 2025), and with a counting sort of each build partition by slot in place of chains, so
// that equal keys lie side by side and many of them cost no more than their output.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/table.hpp"

namespace elevon::kernel {

enum class JoinType : std::uint8_t { Inner, Left, Right, Outer, Semi, Anti };

// "inner", "left", ... Throws std::invalid_argument for any other word.
[[nodiscard]] JoinType parse_join_type(std::string_view name);

// Where a column of the result comes from. Key: from the left row, or from the right row where
// there is no left one.
enum class JoinSide : std::uint8_t { Left, Right, Key };
[[nodiscard]] JoinSide parse_join_side(std::string_view name);

struct JoinColumn {
  JoinSide side = JoinSide::Left;
  std::int64_t position = 0;  // of the column, or of the key pair
  std::string name;
};

// Takes decisions out of the plan's hands, so that tests reach every path with small tables.
struct JoinTuning {
  int partition_bits = -1;        // -1: by size
  bool hash_always = false;       // never address slots by value
  bool wide_rows = false;         // 64-bit row numbers
  int code_bits = 64;             // hashes of fewer bits collide
  std::int64_t segment_rows = 0;  // 0: join_config::kSegmentRows
};

struct JoinSpec {
  std::vector<std::int64_t> left_on;
  std::vector<std::int64_t> right_on;
  JoinType how = JoinType::Inner;
  std::vector<JoinColumn> output;
  bool nulls_equal = false;
  int threads = 1;
  JoinTuning tuning;
};

// The joined rows. Semi and anti keep left rows in their order; otherwise the order is fixed by
// the input and the plan, but means nothing. Floats compare by value: -0.0 equals 0.0 and NaN
// equals NaN. A null key matches nothing unless `nulls_equal`.
//
// Throws std::invalid_argument for columns out of range, key types that do not compare, and right
// columns asked of a semi or anti join.
[[nodiscard]] arrow::Table hash_join(const arrow::Table& left, const arrow::Table& right,
                                     const JoinSpec& spec);

}  // namespace elevon::kernel

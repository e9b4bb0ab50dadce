// Row numbers that a caller brings as a column.
#pragma once

#include "arrow/view.hpp"
#include "kernel/base/buffer.hpp"

namespace elevon::kernel {

// The column's integers as row numbers of a table of `num_rows`; null becomes kNoRow64, and so a
// column of the null type (an empty list, often) is legal too.
// Throws std::invalid_argument: not integers, or a number out of [0, num_rows).
[[nodiscard]] OwnedArray<std::int64_t> read_indices(const arrow::Column& column,
                                                    std::int64_t num_rows);

}  // namespace elevon::kernel

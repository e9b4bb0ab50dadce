// Columns of utf8 and binary on their way to the result: bytes to their buckets first, then to
// their places. Reading each value where it lies would wait for memory once a row.
#pragma once

#include <optional>
#include <vector>

#include "arrow/view.hpp"
#include "kernel/sort/writer.hpp"

namespace elevon::kernel {

// Offsets and bytes of a column with offsets; nothing if its 32-bit offsets could not address all
// bytes in one chunk. Route: Buckets or Pieces.
template <typename Route>
[[nodiscard]] std::optional<std::vector<arrow::Memory>> move_bytes(const arrow::Column& column,
                                                                   const Route& route,
                                                                   const RowOrder& order);

}  // namespace elevon::kernel

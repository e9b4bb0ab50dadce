// Pieces of arrays without what their rows do not use: children cut to the rows, list views in
// order, dictionaries without idle entries.
#pragma once

#include <cstdint>
#include <vector>

#include "arrow/view.hpp"

namespace elevon::kernel {

[[nodiscard]] std::int64_t total_length(const std::vector<arrow::ArrayPtr>& pieces);
[[nodiscard]] std::int64_t total_nulls(const std::vector<arrow::ArrayPtr>& pieces);

// The rows of child `index` that the pieces' rows cover.
[[nodiscard]] std::vector<arrow::ArrayPtr> children_of(const std::vector<arrow::ArrayPtr>& pieces,
                                                       std::size_t index);

// One array of the same lists whose values lie in the order of its rows.
[[nodiscard]] arrow::ArrayPtr compact_list_views(const arrow::TypePtr& type,
                                                 const std::vector<arrow::ArrayPtr>& pieces);

// The pieces over a dictionary that is cut to the entries in use.
[[nodiscard]] std::vector<arrow::ArrayPtr> compact_dictionaries(
    std::vector<arrow::ArrayPtr> pieces);

}  // namespace elevon::kernel

// The parts of pack that move offsets and strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "arrow/view.hpp"

namespace elevon::kernel {

// Bytes (or child rows) that the pieces' offsets span together. Offset: int32_t or int64_t.
template <typename Offset>
[[nodiscard]] std::int64_t spanned(const std::vector<arrow::ArrayPtr>& pieces);

// The pieces' offsets as those of one array, from zero on; nothing where there are no rows.
template <typename Offset>
void fill_rebased(const std::vector<arrow::ArrayPtr>& pieces, std::byte* out);

// The pieces' bytes one after the other.
template <typename Offset>
void fill_bytes(const std::vector<arrow::ArrayPtr>& pieces, std::byte* out);

// Bytes of the strings that do not fit inside their views; null rows have none.
[[nodiscard]] std::int64_t long_bytes(const std::vector<arrow::ArrayPtr>& pieces);

// The pieces' views, pointing to where fill_long_bytes puts the bytes (see kViewStride).
void fill_views(const std::vector<arrow::ArrayPtr>& pieces, std::byte* out);
void fill_long_bytes(const std::vector<arrow::ArrayPtr>& pieces, std::byte* out);

// A long string's view once its bytes lie at `position`.
[[nodiscard]] arrow::View placed_view(const arrow::View& view, std::int64_t position);

}  // namespace elevon::kernel

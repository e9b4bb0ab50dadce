// The steps of import, shared with whoever lays arrays over memory that is not ours.
#pragma once

#include <cstdint>
#include <vector>

#include "arrow/unique.hpp"
#include "arrow/view.hpp"

namespace elevon::arrow {

// No array has more rows, so that sums of lengths and offsets stay far within 64 bits.
inline constexpr std::int64_t kMaxRows = std::int64_t{1} << 31 << 16;

// The foreign array as an Array, checked; `owner` keeps its memory alive.
[[nodiscard]] ArrayPtr lay_over(const ArrowArray& source, const TypePtr& type, const Owner& owner);

// One record batch (or one plain array) as one-chunk columns; sets the number of rows.
[[nodiscard]] std::vector<Column> import_batch(const std::vector<Field>& fields,
                                               const TypePtr& type, UniqueArray source,
                                               std::int64_t& length);

// How many of the bits [offset, offset + length) are 0.
[[nodiscard]] std::int64_t count_zeros(const std::uint8_t* bits, std::int64_t offset,
                                       std::int64_t length);

// Arrow leaves a null row's view unspecified; ours are safe to read. Copies only if it must.
void clear_null_views(Array& array);

}  // namespace elevon::arrow

// Packs rows that lie next to each other into one message.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/base/parallel.hpp"
#include "kernel/exchange/message.hpp"

namespace elevon::kernel {

// What is left to do once a frame has memory: fill buffer `buffer`. The arrays that it reads are
// kept alive by it.
struct FillTask {
  std::size_t buffer;
  std::function<void(std::byte*)> fill;
};

// Adds one column, given as pieces of one type, to a frame: its nodes and buffers (children and
// dictionaries too) and the tasks that fill them. Throws OffsetOverflow where 32-bit offsets
// cannot address the pieces together.
void plan_column(FrameLayout& layout, const arrow::TypePtr& type,
                 std::vector<arrow::ArrayPtr> pieces, std::vector<FillTask>& tasks);

// Rows `rows` of a column as slices of its chunks.
[[nodiscard]] std::vector<arrow::ArrayPtr> pieces_of(const arrow::Column& column, Range rows);

// Rows of a table as one message.
[[nodiscard]] Message pack_rows(const arrow::Table& table, Range rows);

// How long the message of all rows would be; nothing is packed, but list views and idle
// dictionaries are put in order to find out.
[[nodiscard]] std::int64_t packed_bytes(const arrow::Table& table);

// One message for each pair of neighbouring bounds. Throws std::invalid_argument unless bounds
// ascend within the table.
[[nodiscard]] std::vector<Message> pack_slices(const arrow::Table& table,
                                               std::span<const std::int64_t> bounds);

}  // namespace elevon::kernel

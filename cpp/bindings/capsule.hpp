// Arrow's PyCapsule protocol, both ways, and the Python face of a table.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arrow/table.hpp"

namespace elevon::bindings {

namespace py = pybind11;

// Python's ``Table``: owned columns that stream out any number of times. Never modified (pybind11
// wants a holder of non-const).
using TablePtr = std::shared_ptr<arrow::Table>;

// What a caller passed as a table: a Table of ours without the detour, or anything with
// __arrow_c_stream__ or __arrow_c_array__. Needs the GIL (and releases it while the stream is
// read). Throws py::type_error if it has neither, std::invalid_argument if the data is malformed.
[[nodiscard]] TablePtr import_table(const py::object& source);

// The fields of anything with __arrow_c_schema__.
[[nodiscard]] std::vector<arrow::Field> import_fields(const py::object& source);

// A table for Python. Needs no GIL.
[[nodiscard]] TablePtr make_table(arrow::Table table);

[[nodiscard]] py::capsule stream_capsule(const arrow::Table& table);
[[nodiscard]] py::capsule schema_capsule(const arrow::Table& table);

// The columns at these positions. Throws std::invalid_argument for one out of range.
[[nodiscard]] std::vector<const arrow::Column*> columns_at(const arrow::Table& table,
                                                           std::span<const std::int64_t> positions);

// More threads than this are a mistake of the caller.
inline constexpr int kMaxThreads = 1024;
// Returns `threads`. Throws std::invalid_argument unless it is from 1 to kMaxThreads.
int check_threads(int threads);

}  // namespace elevon::bindings

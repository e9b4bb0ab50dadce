// PyCapsules in and out.

#include "bindings/capsule.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace elevon::bindings {
namespace {

// The struct in a capsule that a protocol method returned.
template <typename Struct>
Struct* content_of(const py::object& capsule, const char* name) {
  if (PyCapsule_IsValid(capsule.ptr(), name) == 0) {
    throw py::type_error(std::string("an Arrow protocol method returned no capsule '") + name +
                         "'");
  }
  return static_cast<Struct*>(PyCapsule_GetPointer(capsule.ptr(), name));
}

arrow::Table read_stream(const py::object& source) {
  const py::object capsule = source.attr("__arrow_c_stream__")();
  arrow::UniqueStream stream(content_of<ArrowArrayStream>(capsule, "arrow_array_stream"));
  // A producer that needs Python takes the GIL itself; others may run a whole query here.
  const py::gil_scoped_release released;
  return arrow::import_stream(std::move(stream));
}

arrow::Table read_array(const py::object& source) {
  const py::tuple capsules = source.attr("__arrow_c_array__")();
  if (capsules.size() != 2) throw py::type_error("__arrow_c_array__ returned no pair");
  const py::object schema_capsule = capsules[0];
  const py::object array_capsule = capsules[1];
  const ArrowSchema* schema = content_of<ArrowSchema>(schema_capsule, "arrow_schema");
  arrow::UniqueArray array(content_of<ArrowArray>(array_capsule, "arrow_array"));
  const py::gil_scoped_release released;
  return arrow::import_array(*schema, std::move(array));
}

std::string type_name(const py::object& source) {
  return py::str(py::type::of(source).attr("__name__")).cast<std::string>();
}

template <typename Struct>
void release_content(PyObject* capsule, const char* name) {
  auto* content = static_cast<Struct*>(PyCapsule_GetPointer(capsule, name));
  if (content == nullptr) {
    PyErr_Clear();  // not ours to report: a destructor has nobody to raise to
    return;
  }
  if (content->release != nullptr) content->release(content);
  delete content;
}

void release_stream(PyObject* capsule) {
  release_content<ArrowArrayStream>(capsule, "arrow_array_stream");
}

void release_schema(PyObject* capsule) {
  release_content<ArrowSchema>(capsule, "arrow_schema");
}

// A capsule that owns the struct until a consumer moves it out.
template <typename Struct>
py::capsule wrap(arrow::Unique<Struct> content, const char* name, PyCapsule_Destructor release) {
  auto moved = std::make_unique<Struct>();
  content.move_to(moved.get());
  py::capsule capsule(moved.get(), name, release);
  static_cast<void>(moved.release());
  return capsule;
}

}  // namespace

TablePtr import_table(const py::object& source) {
  if (py::isinstance<arrow::Table>(source)) return source.cast<TablePtr>();
  if (py::hasattr(source, "__arrow_c_stream__")) return make_table(read_stream(source));
  if (py::hasattr(source, "__arrow_c_array__")) return make_table(read_array(source));
  throw py::type_error(
      "expected a table with __arrow_c_stream__ (pyarrow, pandas, polars, "
      "DuckDB), got " +
      type_name(source));
}

std::vector<arrow::Field> import_fields(const py::object& source) {
  if (!py::hasattr(source, "__arrow_c_schema__")) {
    throw py::type_error("expected a schema with __arrow_c_schema__, got " + type_name(source));
  }
  const py::object capsule = source.attr("__arrow_c_schema__")();
  return arrow::import_schema(*content_of<ArrowSchema>(capsule, "arrow_schema"));
}

py::capsule stream_capsule(const arrow::Table& table) {
  return wrap(arrow::export_stream(table), "arrow_array_stream", release_stream);
}

py::capsule schema_capsule(const arrow::Table& table) {
  std::vector<arrow::Field> fields;
  for (const arrow::Column& column : table.columns()) fields.push_back(column.field());
  return wrap(arrow::export_schema(fields), "arrow_schema", release_schema);
}

TablePtr make_table(arrow::Table table) {
  return std::make_shared<arrow::Table>(std::move(table));
}

std::vector<const arrow::Column*> columns_at(const arrow::Table& table,
                                             std::span<const std::int64_t> positions) {
  std::vector<const arrow::Column*> columns;
  for (const std::int64_t position : positions) columns.push_back(&table.column(position));
  return columns;
}

int check_threads(int threads) {
  if (threads < 1 || threads > kMaxThreads) {
    throw std::invalid_argument("threads must be from 1 to " + std::to_string(kMaxThreads) +
                                ", not " + std::to_string(threads));
  }
  return threads;
}

}  // namespace elevon::bindings

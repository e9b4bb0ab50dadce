// Registers Table, hash_rows and take, and the pool's two levers. Signatures: elevon/_native.pyi.

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <utility>

#include "bindings/capsule.hpp"
#include "bindings/register.hpp"
#include "kernel/keys/hash.hpp"
#include "kernel/take/indices.hpp"
#include "kernel/take/take.hpp"

namespace elevon::bindings {
namespace {

TablePtr hash_rows(const py::object& source, const std::vector<std::int64_t>& columns,
                   int threads) {
  const TablePtr table = import_table(source);
  check_threads(threads);
  const py::gil_scoped_release released;
  const auto keys = columns_at(*table, columns);
  if (keys.empty()) throw std::invalid_argument("hash_rows needs at least one column");
  auto hashes = kernel::hash_rows(keys, threads);
  const arrow::ArrayPtr array = arrow::make_array(arrow::simple_type("L"), table->num_rows(), 0, {},
                                                  {kernel::share(std::move(hashes))});
  arrow::Field field{"hash", array->type, false, ""};
  return make_table({{arrow::Column(std::move(field), {array})}, table->num_rows()});
}

TablePtr take(const py::object& source, const py::object& indices, int threads) {
  const TablePtr table = import_table(source);
  const TablePtr rows = import_table(indices);
  check_threads(threads);
  const py::gil_scoped_release released;
  if (rows->columns().size() != 1) {
    throw std::invalid_argument("take needs one column of indices, got " +
                                std::to_string(rows->columns().size()));
  }
  const auto numbers = kernel::read_indices(rows->column(0), table->num_rows());
  const bool may_miss = rows->column(0).null_count() > 0;
  return make_table(kernel::gather(*table, kernel::Rows(numbers.span(), may_miss), threads));
}

}  // namespace

void register_table(py::module_& module) {
  py::class_<arrow::Table, TablePtr>(module, "Table")
      .def_property_readonly("num_rows", &arrow::Table::num_rows)
      .def_property_readonly("num_columns",
                             [](const arrow::Table& table) { return table.columns().size(); })
      .def("__arrow_c_schema__", &schema_capsule)
      // Another schema cannot be asked for: the protocol lets a producer ignore the request.
      .def(
          "__arrow_c_stream__",
          [](const arrow::Table& table, const py::object&) { return stream_capsule(table); },
          py::arg("requested_schema") = py::none());
  module.def("hash_rows", &hash_rows, py::arg("table"), py::arg("columns"), py::arg("threads") = 1);
  module.def("take", &take, py::arg("table"), py::arg("indices"), py::arg("threads") = 1);
  module.def("pooled_bytes", &kernel::pooled_bytes);
  module.def("trim_pool", &kernel::trim_pool, py::call_guard<py::gil_scoped_release>());
}

}  // namespace elevon::bindings

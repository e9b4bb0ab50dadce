// Registers the join kernel. Signatures: elevon/_native.pyi.

#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/capsule.hpp"
#include "bindings/register.hpp"
#include "kernel/join/join.hpp"

namespace elevon::bindings {
namespace {

using OutputColumn = std::tuple<std::string, std::int64_t, std::string>;

std::vector<kernel::JoinColumn> parse_output(const std::vector<OutputColumn>& output) {
  std::vector<kernel::JoinColumn> columns;
  for (const auto& [side, position, name] : output) {
    columns.push_back({kernel::parse_join_side(side), position, name});
  }
  return columns;
}

TablePtr hash_join(const py::object& left, const py::object& right,
                   std::vector<std::int64_t> left_on, std::vector<std::int64_t> right_on,
                   const std::string& how, const std::vector<OutputColumn>& output,
                   bool nulls_equal, int threads, const kernel::JoinTuning& tuning) {
  const TablePtr left_table = import_table(left);
  const TablePtr right_table = import_table(right);
  const kernel::JoinSpec spec{std::move(left_on),
                              std::move(right_on),
                              kernel::parse_join_type(how),
                              parse_output(output),
                              nulls_equal,
                              check_threads(threads),
                              tuning};
  const py::gil_scoped_release released;
  return make_table(kernel::hash_join(*left_table, *right_table, spec));
}

}  // namespace

void register_join(py::module_& module) {
  // For tests: what a plan chooses by size, chosen by hand.
  py::class_<kernel::JoinTuning>(module, "JoinTuning")
      .def(py::init([](int partition_bits, bool hash_always, bool wide_rows, int code_bits,
                       std::int64_t segment_rows) {
             return kernel::JoinTuning{partition_bits, hash_always, wide_rows, code_bits,
                                       segment_rows};
           }),
           py::kw_only(), py::arg("partition_bits") = -1, py::arg("hash_always") = false,
           py::arg("wide_rows") = false, py::arg("code_bits") = 64, py::arg("segment_rows") = 0);
  module.def("hash_join", &hash_join, py::arg("left"), py::arg("right"), py::arg("left_on"),
             py::arg("right_on"), py::arg("how"), py::arg("output"), py::arg("nulls_equal") = false,
             py::arg("threads") = 1, py::arg("tuning") = kernel::JoinTuning{});
}

}  // namespace elevon::bindings

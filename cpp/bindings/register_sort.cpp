// Registers sort and merge. Signatures: elevon/_native.pyi.

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "bindings/capsule.hpp"
#include "bindings/register.hpp"
#include "kernel/sort/merge.hpp"
#include "kernel/sort/sort.hpp"

namespace elevon::bindings {
namespace {

std::vector<kernel::KeySpec> parse_keys(const std::vector<std::int64_t>& by,
                                        const std::vector<bool>& ascending,
                                        const std::vector<bool>& nulls_first) {
  if (ascending.size() != by.size() || nulls_first.size() != by.size()) {
    throw std::invalid_argument(
        "by, ascending and nulls_first differ in length: " + std::to_string(by.size()) + ", " +
        std::to_string(ascending.size()) + ", " + std::to_string(nulls_first.size()));
  }
  std::vector<kernel::KeySpec> keys;
  for (std::size_t i = 0; i < by.size(); ++i) {
    keys.push_back({by[i], ascending[i], nulls_first[i]});
  }
  return keys;
}

TablePtr sort(const py::object& source, const std::vector<std::int64_t>& by,
              const std::vector<bool>& ascending, const std::vector<bool>& nulls_first, int threads,
              const kernel::SortTuning& tuning) {
  const auto keys = parse_keys(by, ascending, nulls_first);
  const TablePtr table = import_table(source);
  check_threads(threads);
  const py::gil_scoped_release released;
  return make_table(kernel::sort(*table, keys, threads, tuning));
}

TablePtr merge(const std::vector<py::object>& sources, const std::vector<std::int64_t>& by,
               const std::vector<bool>& ascending, const std::vector<bool>& nulls_first,
               int threads, const kernel::SortTuning& tuning) {
  const auto keys = parse_keys(by, ascending, nulls_first);
  std::vector<arrow::Table> tables;
  for (const py::object& source : sources) tables.push_back(*import_table(source));
  check_threads(threads);
  const py::gil_scoped_release released;
  return make_table(kernel::merge(tables, keys, threads, tuning));
}

}  // namespace

void register_sort(py::module_& module) {
  // For tests: what depends on the size of tables, chosen by hand.
  py::class_<kernel::SortTuning>(module, "SortTuning")
      .def(py::init([](std::int64_t bucket_rows, int direct_buckets) {
             return kernel::SortTuning{bucket_rows, direct_buckets};
           }),
           py::kw_only(), py::arg("bucket_rows") = kernel::sort_config::kBucketRows,
           py::arg("direct_buckets") = kernel::sort_config::kDirectBuckets);
  module.def("sort", &sort, py::arg("table"), py::arg("by"), py::arg("ascending"),
             py::arg("nulls_first"), py::arg("threads") = 1,
             py::arg("tuning") = kernel::SortTuning{});
  module.def("merge", &merge, py::arg("tables"), py::arg("by"), py::arg("ascending"),
             py::arg("nulls_first"), py::arg("threads") = 1,
             py::arg("tuning") = kernel::SortTuning{});
}

}  // namespace elevon::bindings

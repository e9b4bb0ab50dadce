// Registers the sort kernels. Before it: bindings/capsule. Signatures: elevon/_native.pyi.

#include "bindings/register.hpp"

namespace elevon::bindings {

void register_sort(pybind11::module_& /*module*/) {}

}  // namespace elevon::bindings

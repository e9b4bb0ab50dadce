// Registers the join kernels. Before it: bindings/capsule. Signatures: elevon/_native.pyi.

#include "bindings/register.hpp"

namespace elevon::bindings {

void register_join(pybind11::module_& /*module*/) {}

}  // namespace elevon::bindings

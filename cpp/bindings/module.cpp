// The module elevon._native: registers, nothing else. Signatures: elevon/_native.pyi.

#include <pybind11/pybind11.h>

#include "bindings/register.hpp"

PYBIND11_MODULE(_native, module) {
  module.doc() = "The compiled kernels: Arrow tables in, Arrow tables out.";
  elevon::bindings::register_table(module);
  elevon::bindings::register_pack(module);
  elevon::bindings::register_join(module);
  elevon::bindings::register_sort(module);
  elevon::bindings::register_net(module);
}

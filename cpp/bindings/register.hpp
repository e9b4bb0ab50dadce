// One function per topic; module.cpp calls them all. Each lives in register_TOPIC.cpp.
#pragma once

#include <pybind11/pybind11.h>

namespace elevon::bindings {

void register_table(pybind11::module_& module);
void register_pack(pybind11::module_& module);
void register_join(pybind11::module_& module);
void register_sort(pybind11::module_& module);
void register_net(pybind11::module_& module);

}  // namespace elevon::bindings

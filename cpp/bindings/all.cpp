// All sources of the bindings in one. Each alone spends most of its time on what pybind11's headers
// make of themselves: seven take 54 s of a core, all at once 13 s, sanitized 61 s and 18 s.

// NOLINTBEGIN(bugprone-suspicious-include)
#include "bindings/capsule.cpp"
#include "bindings/module.cpp"
#include "bindings/register_join.cpp"
#include "bindings/register_net.cpp"
#include "bindings/register_pack.cpp"
#include "bindings/register_sort.cpp"
#include "bindings/register_table.cpp"
// NOLINTEND(bugprone-suspicious-include)

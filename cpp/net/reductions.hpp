// Reductions over a mesh: what the members pass is folded in the order of their ranks.
//
// Small arrays are collected whole by whoever needs the result. Of large ones each member gets one
// slice from everybody, folds it and hands it on, so every element is folded once and 2 (P - 1) / P
// of the array crosses each link, the least there is (Rabenseifner, 2004). Halving and doubling
// with partial results would save bytes of small ones, but adds floats up in another order.
//
// `room` is memory for what is on its way: as much as room_for says. Every function throws
// GroupFailed; sizes, roots and reductions that cannot be are std::invalid_argument.
#pragma once

#include <cstddef>

#include "net/collectives.hpp"

namespace elevon::net {

[[nodiscard]] std::size_t room_for(Mesh& mesh, Group& group, const Call& call, std::size_t bytes);

// `result` is empty on all but the root.
void reduce(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes mine, Room result,
            Room room);
void allreduce(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes mine, Room result,
               Room room);
// Inclusive: the fold of the ranks up to the caller.
void scan(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes mine, Room result,
          Room room);
// A row for each rank; each gets the fold of its own.
void reduce_scatter(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes rows,
                    Room result, Room room);

}  // namespace elevon::net

// Collectives as schedules of rounds over a mesh. Before it: mesh. After it: bindings.
//
// Algorithms are chosen by what all members know: the size of the group and, where all pass equal
// sizes, the bytes. Rows lie one after another, by rank. Every function throws GroupFailed; sizes
// and roots that cannot be are std::invalid_argument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "net/mesh.hpp"

namespace elevon::net {

using Bytes = std::span<const std::byte>;
using Room = std::span<std::byte>;

// Dissemination: log2(P) rounds.
void barrier(Mesh& mesh, Group& group, const Call& call);
// Binomial tree; large ones are scattered by the root and collected by all around a ring.
void bcast(Mesh& mesh, Group& group, const Call& call, Room data);
// Straight to the root; `rows` is empty on the others.
void gather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows);
// Straight from the root; `rows` is empty on the others.
void scatter(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room mine);
// Small: Bruck, log2(P) rounds. Large: around a ring.
void allgather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows);
// All at once, in windows of peers.
void alltoall(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room result);
// Any lengths to and from any members, which all know what comes. Parts for the caller itself are
// not allowed.
void exchange(Mesh& mesh, Group& group, const Call& call, const std::vector<Outgoing>& sends,
              const std::vector<Incoming>& receives);

}  // namespace elevon::net

// Collectives over a mesh: what members pass is checked, the algorithm chosen and carried out.
//
// Rows lie one after another, by rank. Every function throws GroupFailed; sizes and roots that
// cannot be are std::invalid_argument.
#pragma once

#include <cstddef>
#include <vector>

#include "net/schedule.hpp"

namespace elevon::net {

void barrier(Mesh& mesh, Group& group, const Call& call);
void bcast(Mesh& mesh, Group& group, const Call& call, Room data);
// `rows` is empty on all but the root.
void gather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows);
// `rows` is empty on all but the root.
void scatter(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room mine);
void allgather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows);
// A row from each rank, of lengths that all know; the caller's own is there. Empty rows are not
// sent where none is longer.
void allgatherv(Mesh& mesh, Group& group, const Call& call, const std::vector<Room>& rows);
void alltoall(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room result);
// Any lengths to and from any members, which all know what comes. Parts for the caller itself are
// not allowed.
void exchange(Mesh& mesh, Group& group, const Call& call, const std::vector<Outgoing>& sends,
              const std::vector<Incoming>& receives);

// What a collective of this size is carried out with; see choose for what `bytes` are.
[[nodiscard]] Algorithm algorithm_of(Mesh& mesh, Group& group, const Call& call, std::size_t bytes);
void check_root(const Group& group, const Call& call);
void check_rows(const Group& group, std::size_t rows, std::size_t row);

}  // namespace elevon::net

#include "net/collectives.hpp"

#include <stdexcept>
#include <string>

namespace elevon::net {

Algorithm algorithm_of(Mesh& mesh, Group& group, const Call& call, std::size_t bytes) {
  return choose(call.kind, group.size(), bytes, mesh.costs_of(group, call));
}

void check_root(const Group& group, const Call& call) {
  if (call.root < 0 || call.root >= group.size()) {
    throw std::invalid_argument("root " + std::to_string(call.root) + " is no rank of a group of " +
                                std::to_string(group.size()));
  }
}

void check_rows(const Group& group, std::size_t rows, std::size_t row) {
  if (rows != at(group.size(), row)) {
    throw std::invalid_argument(std::to_string(rows) + " bytes are not " +
                                std::to_string(group.size()) + " rows of " + std::to_string(row));
  }
}

void barrier(Mesh& mesh, Group& group, const Call& call) {
  Schedule schedule(group);
  disseminate(schedule);
  mesh.run(group, call, schedule.rounds());
}

void bcast(Mesh& mesh, Group& group, const Call& call, Room data) {
  check_root(group, call);
  const Algorithm algorithm = algorithm_of(mesh, group, call, data.size());
  Schedule schedule(group);
  (algorithm == Algorithm::kTree ? bcast_by_tree : bcast_by_ring)(schedule, call.root, data);
  mesh.run(group, call, schedule.rounds());
}

void gather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows) {
  check_root(group, call);
  if (group.rank() == call.root) check_rows(group, rows.size(), mine.size());
  const Algorithm algorithm = algorithm_of(mesh, group, call, mine.size());
  Schedule schedule(group);
  const auto add = algorithm == Algorithm::kTree ? gather_by_tree : gather_directly;
  add(schedule, call.root, mine, rows);
  mesh.run(group, call, schedule.rounds());
}

void scatter(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room mine) {
  check_root(group, call);
  if (group.rank() == call.root) check_rows(group, rows.size(), mine.size());
  const Algorithm algorithm = algorithm_of(mesh, group, call, mine.size());
  Schedule schedule(group);
  const auto add = algorithm == Algorithm::kTree ? scatter_by_tree : scatter_directly;
  add(schedule, call.root, rows, mine);
  mesh.run(group, call, schedule.rounds());
}

void allgather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows) {
  check_rows(group, rows.size(), mine.size());
  const Algorithm algorithm = algorithm_of(mesh, group, call, mine.size());
  Schedule schedule(group);
  add_allgather(schedule, algorithm, mine, rows);
  mesh.run(group, call, schedule.rounds());
}

void allgatherv(Mesh& mesh, Group& group, const Call& call, const std::vector<Room>& rows) {
  if (rows.size() != at(group.size(), 1)) {
    throw std::invalid_argument(std::to_string(rows.size()) + " rows are not one for each of " +
                                std::to_string(group.size()) + " members");
  }
  std::size_t total = 0;
  for (const Room row : rows) total += row.size();
  Schedule schedule(group);
  if (total > 0) {
    const Algorithm algorithm = algorithm_of(mesh, group, call, total / rows.size());
    const bool rings = algorithm == Algorithm::kRing;
    (rings ? allgatherv_by_ring : allgatherv_directly)(schedule, rows);
  }
  mesh.run(group, call, schedule.rounds());
}

void alltoall(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room result) {
  if (rows.size() != result.size()) throw std::invalid_argument("rows and result differ in size");
  const std::size_t row = rows.size() / static_cast<std::size_t>(group.size());
  check_rows(group, rows.size(), row);
  const Algorithm algorithm = algorithm_of(mesh, group, call, row);
  Schedule schedule(group);
  const bool doubles = algorithm == Algorithm::kDoubling;
  (doubles ? alltoall_by_doubling : alltoall_directly)(schedule, rows, result);
  mesh.run(group, call, schedule.rounds());
}

void exchange(Mesh& mesh, Group& group, const Call& call, const std::vector<Outgoing>& sends,
              const std::vector<Incoming>& receives) {
  Schedule schedule(group);
  schedule.exchange(0, sends, receives);
  mesh.run(group, call, schedule.rounds());
}

}  // namespace elevon::net

// How data go round among the members of a group: rounds for a mesh, one algorithm at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "net/fold.hpp"
#include "net/mesh.hpp"

namespace elevon::net {

// Row `rank` of rows that have this many bytes each.
[[nodiscard]] inline std::size_t at(int rank, std::size_t bytes) {
  return static_cast<std::size_t>(rank) * bytes;
}
// A rank that is counted around the group, below 0 and beyond the last.
[[nodiscard]] inline int wrap(int rank, int size) {
  return ((rank % size) + size) % size;
}
void copy(Room target, Bytes source);
// Begin and length of piece `rank` of `total` things cut in `size` pieces.
[[nodiscard]] std::pair<std::size_t, std::size_t> piece(std::size_t total, int size, int rank);

// The rounds of one call, and the memory that they need until they are over.
class Schedule {
 public:
  explicit Schedule(const Group& group) : rank_(group.rank()), size_(group.size()) {}

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] const std::vector<Round>& rounds() const { return rounds_; }

  // Uninitialised, and there as long as this.
  [[nodiscard]] Room memory(std::size_t bytes);
  void add(Round round) { rounds_.push_back(std::move(round)); }
  // Is done after the rounds so far: at once, where there is none.
  void then(std::function<void()> act);
  // Any lengths to and from any members, in windows of peers. Throws std::invalid_argument where a
  // part is the caller's own, or nobody's.
  void exchange(std::uint16_t step, const std::vector<Outgoing>& sends,
                const std::vector<Incoming>& receives);

 private:
  int rank_;
  int size_;
  std::vector<Round> rounds_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
};

// Rows lie one after another, by rank; only the root has them where there is one.
void disseminate(Schedule& schedule);
void bcast_by_tree(Schedule& schedule, int root, Room data);
void bcast_by_ring(Schedule& schedule, int root, Room data);
void gather_directly(Schedule& schedule, int root, Bytes mine, Room rows);
void gather_by_tree(Schedule& schedule, int root, Bytes mine, Room rows);
void scatter_directly(Schedule& schedule, int root, Bytes rows, Room mine);
void scatter_by_tree(Schedule& schedule, int root, Bytes rows, Room mine);
// Rows of any lengths, which all know; the caller's own is there.
void allgatherv_by_ring(Schedule& schedule, const std::vector<Room>& rows);
void allgatherv_directly(Schedule& schedule, const std::vector<Room>& rows);
void allgather_by_doubling(Schedule& schedule, Bytes mine, Room rows);
void add_allgather(Schedule& schedule, Algorithm algorithm, Bytes mine, Room rows);
void alltoall_directly(Schedule& schedule, Bytes rows, Room result);
void alltoall_by_doubling(Schedule& schedule, Bytes rows, Room result);

}  // namespace elevon::net

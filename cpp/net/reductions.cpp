#include "net/reductions.hpp"

#include <stdexcept>
#include <string>
#include <vector>

namespace elevon::net {
namespace {

// One reduction as its parts share it.
struct Folding {
  Folding(const Group& group, const Call& call, Reduction kind, Bytes data, Room scratch)
      : schedule(group), root(call.root), reduction(kind), mine(data), room(scratch) {}

  // The slice of an array that a rank folds; slices are cut between elements.
  [[nodiscard]] std::pair<std::size_t, std::size_t> slice(int rank) const {
    const std::size_t width = width_of(reduction.type);
    const auto [begin, count] = piece(mine.size() / width, schedule.size(), rank);
    return {begin * width, count * width};
  }
  [[nodiscard]] std::size_t length() const { return slice(schedule.rank()).second; }
  // Where the slice of a rank arrives, or its whole array.
  [[nodiscard]] Room row(int rank, std::size_t bytes) const {
    return room.subspan(at(rank, bytes), bytes);
  }
  [[nodiscard]] Bytes own_slice() const {
    const auto [begin, count] = slice(schedule.rank());
    return mine.subspan(begin, count);
  }

  Schedule schedule;
  int root;
  Reduction reduction;
  Bytes mine;
  Room room;
};

// The first `count` rows of the room.
std::vector<Bytes> rows_of(const Folding& folding, int count, std::size_t bytes) {
  std::vector<Bytes> rows;
  rows.reserve(static_cast<std::size_t>(count));
  for (int rank = 0; rank < count; ++rank) rows.emplace_back(folding.row(rank, bytes));
  return rows;
}

// Folds whole arrays, which have been collected.
void fold_rows(Folding& folding, int count, Room result) {
  folding.schedule.then([&folding, count, result] {
    fold(folding.reduction, result, rows_of(folding, count, result.size()));
  });
}

// Everybody gets its slice from everybody, by rank, but its own.
void trade_slices(Folding& folding) {
  Schedule& schedule = folding.schedule;
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int distance = 1; distance < schedule.size(); ++distance) {
    const int to = wrap(schedule.rank() + distance, schedule.size());
    const int from = wrap(schedule.rank() - distance, schedule.size());
    const auto [begin, count] = folding.slice(to);
    sends.push_back({to, folding.mine.subspan(begin, count)});
    receives.push_back({from, folding.row(from, folding.length())});
  }
  schedule.exchange(0, sends, receives);
}

// ... and folds them.
void fold_slices(Folding& folding, Room result) {
  trade_slices(folding);
  folding.schedule.then([&folding, result] {
    std::vector<Bytes> rows = rows_of(folding, folding.schedule.size(), folding.length());
    rows[static_cast<std::size_t>(folding.schedule.rank())] = folding.own_slice();
    fold(folding.reduction, result, rows);
  });
}

// Sends the own slice of the result to all, and takes theirs.
void spread_slices(Folding& folding, Room result) {
  const auto part = [&](int rank) {
    const auto [begin, count] = folding.slice(rank);
    return result.subspan(begin, count);
  };
  Schedule& schedule = folding.schedule;
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int distance = 1; distance < schedule.size(); ++distance) {
    sends.push_back({wrap(schedule.rank() + distance, schedule.size()), part(schedule.rank())});
    const int from = wrap(schedule.rank() - distance, schedule.size());
    receives.push_back({from, part(from)});
  }
  schedule.exchange(1, sends, receives);
}

void collect_slices(Folding& folding, Room folded, Room result) {
  Schedule& schedule = folding.schedule;
  if (schedule.rank() != folding.root) return schedule.exchange(1, {{folding.root, folded}}, {});
  std::vector<Incoming> receives;
  for (int distance = 1; distance < schedule.size(); ++distance) {
    const int from = wrap(schedule.rank() - distance, schedule.size());
    const auto [begin, count] = folding.slice(from);
    receives.push_back({from, result.subspan(begin, count)});
  }
  schedule.exchange(1, {}, receives);
}

// Row r becomes the fold of the rows up to r, and goes back to rank r.
void scan_slices(Folding& folding, Room result) {
  trade_slices(folding);
  const int rank = folding.schedule.rank();
  const std::size_t length = folding.length();
  folding.schedule.then([&folding, rank, length, result] {
    copy(folding.row(rank, length), folding.own_slice());
    for (int next = 1; next < folding.schedule.size(); ++next) {
      const Room row = folding.row(next, length);
      combine(folding.reduction, row, folding.row(next - 1, length), row);
    }
    copy(result.subspan(folding.slice(rank).first, length), folding.row(rank, length));
  });
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int distance = 1; distance < folding.schedule.size(); ++distance) {
    const int to = wrap(rank + distance, folding.schedule.size());
    const int from = wrap(rank - distance, folding.schedule.size());
    const auto [begin, count] = folding.slice(from);
    sends.push_back({to, folding.row(to, length)});
    receives.push_back({from, result.subspan(begin, count)});
  }
  folding.schedule.exchange(1, sends, receives);
}

void check(const Group& group, const Call& call, Reduction reduction, std::size_t bytes,
           std::size_t result, std::size_t room, std::size_t needed) {
  if (!reduction.sound()) {
    throw std::invalid_argument("logical operations reduce bool, and only they do");
  }
  const bool has_result = call.kind != Kind::kReduce || group.rank() == call.root;
  if (bytes % width_of(reduction.type) != 0 || result != (has_result ? bytes : 0) ||
      room < needed) {
    throw std::invalid_argument(std::to_string(bytes) + " bytes cannot be reduced into " +
                                std::to_string(result) + " with a room of " + std::to_string(room));
  }
}

}  // namespace

std::size_t room_for(Mesh& mesh, Group& group, const Call& call, std::size_t bytes) {
  const auto size = static_cast<std::size_t>(group.size());
  const bool slices = call.kind != Kind::kReduceScatter &&
                      algorithm_of(mesh, group, call, bytes) == Algorithm::kSlices;
  // The first slices are not the longest: by less than the widest element.
  return slices ? bytes + size * sizeof(double) : bytes * size;
}

void reduce(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes mine, Room result,
            Room room) {
  check_root(group, call);
  check(group, call, reduction, mine.size(), result.size(), room.size(),
        room_for(mesh, group, call, mine.size()));
  call.what = reduction.code();
  Folding folding(group, call, reduction, mine, room);
  const Algorithm algorithm = algorithm_of(mesh, group, call, mine.size());
  const bool is_root = group.rank() == call.root;
  if (algorithm == Algorithm::kSlices) {
    const auto [begin, count] = folding.slice(group.rank());
    const Room folded = is_root ? result.subspan(begin, count) : folding.row(group.rank(), count);
    fold_slices(folding, folded);
    collect_slices(folding, folded, result);
  } else {
    const auto add = algorithm == Algorithm::kTree ? gather_by_tree : gather_directly;
    const Room rows = is_root ? room.first(at(group.size(), mine.size())) : Room{};
    add(folding.schedule, call.root, mine, rows);
    if (is_root) fold_rows(folding, group.size(), result);
  }
  mesh.run(group, call, folding.schedule.rounds());
}

void allreduce(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes mine, Room result,
               Room room) {
  check(group, call, reduction, mine.size(), result.size(), room.size(),
        room_for(mesh, group, call, mine.size()));
  call.what = reduction.code();
  Folding folding(group, call, reduction, mine, room);
  const Algorithm algorithm = algorithm_of(mesh, group, call, mine.size());
  if (algorithm == Algorithm::kSlices) {
    const auto [begin, count] = folding.slice(group.rank());
    fold_slices(folding, result.subspan(begin, count));
    spread_slices(folding, result);
  } else {
    const Room rows = room.first(at(group.size(), mine.size()));
    add_allgather(folding.schedule, algorithm, mine, rows);
    fold_rows(folding, group.size(), result);
  }
  mesh.run(group, call, folding.schedule.rounds());
}

void scan(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes mine, Room result,
          Room room) {
  check(group, call, reduction, mine.size(), result.size(), room.size(),
        room_for(mesh, group, call, mine.size()));
  call.what = reduction.code();
  Folding folding(group, call, reduction, mine, room);
  const Algorithm algorithm = algorithm_of(mesh, group, call, mine.size());
  if (algorithm == Algorithm::kSlices) {
    scan_slices(folding, result);
  } else {
    const Room rows = room.first(at(group.size(), mine.size()));
    add_allgather(folding.schedule, algorithm, mine, rows);
    fold_rows(folding, group.rank() + 1, result);
  }
  mesh.run(group, call, folding.schedule.rounds());
}

void reduce_scatter(Mesh& mesh, Group& group, Call call, Reduction reduction, Bytes rows,
                    Room result, Room room) {
  check_rows(group, rows.size(), result.size());
  check(group, call, reduction, result.size(), result.size(), room.size(), rows.size());
  call.what = reduction.code();
  Folding folding(group, call, reduction, rows, room);
  const bool doubles = algorithm_of(mesh, group, call, result.size()) == Algorithm::kDoubling;
  (doubles ? alltoall_by_doubling : alltoall_directly)(folding.schedule, rows,
                                                       room.first(rows.size()));
  fold_rows(folding, group.size(), result);
  mesh.run(group, call, folding.schedule.rounds());
}

}  // namespace elevon::net

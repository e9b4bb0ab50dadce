#include "net/schedule.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace elevon::net {
namespace {

// More peers at once only fill the kernel's buffers.
constexpr int kWindow = 16;

// Around the ring: in round k every rank passes on the piece that it got in round k - 1.
template <typename Piece>
void add_ring(Schedule& schedule, const Piece& piece_of) {
  const int size = schedule.size();
  const int rank = schedule.rank();
  for (int step = 0; step < size - 1; ++step) {
    const Room leaves = piece_of(wrap(rank - step, size));
    const Room comes = piece_of(wrap(rank - step - 1, size));
    const auto number = static_cast<std::uint16_t>(step + 1);
    schedule.add({number, {{wrap(rank + 1, size), leaves}}, {{wrap(rank - 1, size), comes}}});
  }
}

// A member of a binomial tree over the places 0, 1, ... counted from the root.
struct Branch {
  Branch(const Schedule& schedule, int root)
      : size(schedule.size()), first(root), place(wrap(schedule.rank() - root, size)) {
    while (mask < size && (place & mask) == 0) mask *= 2;
    rows = std::min(mask, size - place);
  }
  [[nodiscard]] int rank_of(int at_place) const { return wrap(at_place + first, size); }
  [[nodiscard]] int parent() const { return rank_of(place - mask); }
  // Calls `act` with each child, its distance and how many rows its branch has; the deepest first.
  template <typename Act>
  void each_child(const Act& act) const {
    for (int distance = mask / 2; distance > 0; distance /= 2) {
      if (distance < rows)
        act(rank_of(place + distance), distance, std::min(distance, rows - distance));
    }
  }

  int size;
  int first;  // rank of place 0
  int place;
  int mask = 1;  // distance to the parent; of the root: beyond the last place
  int rows;      // of this branch, which has the places from its own on
};

// `target` is `source` with its first row moved to row `by`, the next to the one after, around.
void turn(Room target, Bytes source, std::size_t row, int by) {
  const std::size_t moved = source.size() - at(by, row);
  copy(target.subspan(at(by, row)), source.first(moved));
  copy(target, source.subspan(moved));
}

// The rows whose number has this bit, one after another.
template <typename Move>
void each_with(int bit, int size, const Move& move) {
  for (int row = 0, packed = 0; row < size; ++row) {
    if ((row & bit) != 0) move(row, packed++);
  }
}

}  // namespace

void copy(Room target, Bytes source) {
  if (!source.empty()) std::memcpy(target.data(), source.data(), source.size());
}

std::pair<std::size_t, std::size_t> piece(std::size_t total, int size, int rank) {
  const std::size_t begin = total * static_cast<std::size_t>(rank) / static_cast<std::size_t>(size);
  const std::size_t end =
      total * static_cast<std::size_t>(rank + 1) / static_cast<std::size_t>(size);
  return {begin, end - begin};
}

Room Schedule::memory(std::size_t bytes) {
  memory_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
  return {memory_.back().get(), bytes};
}

void Schedule::then(std::function<void()> act) {
  if (rounds_.empty()) return act();
  rounds_.back().then.push_back(std::move(act));
}

void Schedule::exchange(std::uint16_t step, const std::vector<Outgoing>& sends,
                        const std::vector<Incoming>& receives) {
  // By distance, so that every rank starts with another peer and windows fit each other.
  std::vector<Round> windows(static_cast<std::size_t>((size_ + kWindow - 1) / kWindow));
  const auto window_of = [&](int rank, int direction) -> Round& {
    if (rank < 0 || rank >= size_ || rank == rank_) {
      throw std::invalid_argument("rank " + std::to_string(rank) + " is no other member");
    }
    const int distance = wrap(direction * (rank - rank_), size_);
    return windows[static_cast<std::size_t>((distance - 1) / kWindow)];
  };
  for (const Outgoing& part : sends) window_of(part.rank, 1).sends.push_back(part);
  for (const Incoming& part : receives) window_of(part.rank, -1).receives.push_back(part);
  for (Round& window : windows) {
    window.step = step;
    add(std::move(window));
  }
}

void disseminate(Schedule& schedule) {
  const int size = schedule.size();
  for (int distance = 1; distance < size; distance *= 2) {
    schedule.add({static_cast<std::uint16_t>(distance),
                  {{wrap(schedule.rank() + distance, size), {}}},
                  {{wrap(schedule.rank() - distance, size), {}}}});
  }
}

void bcast_by_tree(Schedule& schedule, int root, Room data) {
  const Branch branch(schedule, root);
  if (branch.place != 0) schedule.add({0, {}, {{branch.parent(), data}}});
  Round down;
  branch.each_child([&](int child, int, int) { down.sends.push_back({child, data}); });
  schedule.add(std::move(down));
}

void bcast_by_ring(Schedule& schedule, int root, Room data) {
  const int size = schedule.size();
  const auto piece_of = [&](int rank) {
    const auto [begin, length] = piece(data.size(), size, rank);
    return data.subspan(begin, length);
  };
  Round first;
  if (schedule.rank() != root) {
    first.receives.push_back({root, piece_of(schedule.rank())});
  } else {
    for (int distance = 1; distance < size; ++distance) {
      const int peer = wrap(root + distance, size);
      first.sends.push_back({peer, piece_of(peer)});
    }
  }
  schedule.add(std::move(first));
  add_ring(schedule, piece_of);
}

void gather_directly(Schedule& schedule, int root, Bytes mine, Room rows) {
  Round round;
  if (schedule.rank() != root) {
    round.sends.push_back({root, mine});
  } else {
    copy(rows.subspan(at(root, mine.size()), mine.size()), mine);
    for (int rank = 0; rank < schedule.size(); ++rank) {
      if (rank == root) continue;
      round.receives.push_back({rank, rows.subspan(at(rank, mine.size()), mine.size())});
    }
  }
  schedule.add(std::move(round));
}

void gather_by_tree(Schedule& schedule, int root, Bytes mine, Room rows) {
  const Branch branch(schedule, root);
  const std::size_t row = mine.size();
  const bool in_place = branch.place == 0 && root == 0;
  const Room own = in_place ? rows : schedule.memory(at(branch.rows, row));
  copy(own, mine);
  Round up;
  branch.each_child([&](int child, int distance, int count) {
    up.receives.push_back({child, own.subspan(at(distance, row), at(count, row))});
  });
  schedule.add(std::move(up));
  if (branch.place != 0) return schedule.add({0, {{branch.parent(), own}}, {}});
  if (!in_place) schedule.then([=] { turn(rows, own, row, root); });
}

void scatter_directly(Schedule& schedule, int root, Bytes rows, Room mine) {
  Round round;
  if (schedule.rank() != root) {
    round.receives.push_back({root, mine});
  } else {
    copy(mine, rows.subspan(at(root, mine.size()), mine.size()));
    for (int rank = 0; rank < schedule.size(); ++rank) {
      if (rank == root) continue;
      round.sends.push_back({rank, rows.subspan(at(rank, mine.size()), mine.size())});
    }
  }
  schedule.add(std::move(round));
}

void scatter_by_tree(Schedule& schedule, int root, Bytes rows, Room mine) {
  const Branch branch(schedule, root);
  const std::size_t row = mine.size();
  const Room own = schedule.memory(at(branch.rows, row));
  if (branch.place == 0) {
    turn(own, rows, row, wrap(-root, branch.size));
  } else {
    schedule.add({0, {}, {{branch.parent(), own}}});
  }
  Round down;
  branch.each_child([&](int child, int distance, int count) {
    down.sends.push_back({child, own.subspan(at(distance, row), at(count, row))});
  });
  schedule.add(std::move(down));
  schedule.then([=] { copy(mine, own.first(row)); });
}

void allgatherv_by_ring(Schedule& schedule, const std::vector<Room>& rows) {
  add_ring(schedule, [&](int rank) { return rows[static_cast<std::size_t>(rank)]; });
}

void allgatherv_directly(Schedule& schedule, const std::vector<Room>& rows) {
  const Bytes mine = rows[static_cast<std::size_t>(schedule.rank())];
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int distance = 1; distance < schedule.size(); ++distance) {
    const int from = wrap(schedule.rank() - distance, schedule.size());
    sends.push_back({wrap(schedule.rank() + distance, schedule.size()), mine});
    receives.push_back({from, rows[static_cast<std::size_t>(from)]});
  }
  schedule.exchange(0, sends, receives);
}

// Bruck et al., 1997: what is held doubles every round. Row i of what is held is from the rank i
// places ahead.
void allgather_by_doubling(Schedule& schedule, Bytes mine, Room rows) {
  const int size = schedule.size();
  const int rank = schedule.rank();
  const std::size_t row = mine.size();
  const Room held = schedule.memory(rows.size());
  copy(held, mine);
  for (int have = 1; have < size; have *= 2) {
    const std::size_t moved = at(std::min(have, size - have), row);
    schedule.add({static_cast<std::uint16_t>(have),
                  {{wrap(rank - have, size), held.first(moved)}},
                  {{wrap(rank + have, size), held.subspan(at(have, row), moved)}}});
  }
  schedule.then([=] { turn(rows, held, row, rank); });
}

void add_allgather(Schedule& schedule, Algorithm algorithm, Bytes mine, Room rows) {
  if (algorithm == Algorithm::kDoubling) return allgather_by_doubling(schedule, mine, rows);
  std::vector<Room> by_rank;
  for (int rank = 0; rank < schedule.size(); ++rank) {
    by_rank.push_back(rows.subspan(at(rank, mine.size()), mine.size()));
  }
  copy(by_rank[static_cast<std::size_t>(schedule.rank())], mine);
  (algorithm == Algorithm::kRing ? allgatherv_by_ring : allgatherv_directly)(schedule, by_rank);
}

void alltoall_directly(Schedule& schedule, Bytes rows, Room result) {
  const int size = schedule.size();
  const int rank = schedule.rank();
  const std::size_t row = rows.size() / static_cast<std::size_t>(size);
  copy(result.subspan(at(rank, row), row), rows.subspan(at(rank, row), row));
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int distance = 1; distance < size; ++distance) {
    const int to = wrap(rank + distance, size);
    const int from = wrap(rank - distance, size);
    sends.push_back({to, rows.subspan(at(to, row), row)});
    receives.push_back({from, result.subspan(at(from, row), row)});
  }
  schedule.exchange(0, sends, receives);
}

// Bruck et al., 1997: held row i has i places to go, and goes those of its number's bits.
void alltoall_by_doubling(Schedule& schedule, Bytes rows, Room result) {
  const int size = schedule.size();
  const int rank = schedule.rank();
  const std::size_t row = rows.size() / static_cast<std::size_t>(size);
  const Room held = schedule.memory(rows.size());
  turn(held, rows, row, wrap(-rank, size));
  for (int bit = 1; bit < size; bit *= 2) {
    int count = 0;
    each_with(bit, size, [&](int, int) { ++count; });
    const Room leaves = schedule.memory(at(count, row));
    const Room comes = schedule.memory(at(count, row));
    const auto packed = [=](Room all, int number) { return all.subspan(at(number, row), row); };
    schedule.then([=] {
      each_with(bit, size, [&](int i, int n) { copy(packed(leaves, n), packed(held, i)); });
    });
    schedule.add({static_cast<std::uint16_t>(bit),
                  {{wrap(rank + bit, size), leaves}},
                  {{wrap(rank - bit, size), comes}}});
    schedule.then([=] {
      each_with(bit, size, [&](int i, int n) { copy(packed(held, i), packed(comes, n)); });
    });
  }
  schedule.then([=] {
    for (int i = 0; i < size; ++i) {
      copy(result.subspan(at(wrap(rank - i, size), row), row), held.subspan(at(i, row), row));
    }
  });
}

}  // namespace elevon::net

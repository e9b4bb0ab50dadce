#include "net/collectives.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

namespace elevon::net {
namespace {

// Below this a message costs its latency, above it the bytes that cross each link.
constexpr std::size_t kSmallBytes = 32 * 1024;
// More peers at once only fill the kernel's buffers.
constexpr int kWindow = 16;

std::size_t at(int rank, std::size_t bytes) {
  return static_cast<std::size_t>(rank) * bytes;
}

// The rank `distance` behind or ahead of `rank`.
int wrap(int rank, int size) {
  return ((rank % size) + size) % size;
}

void copy(Room target, Bytes source) {
  if (!source.empty()) std::memcpy(target.data(), source.data(), source.size());
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

// Piece `rank` of `total` bytes cut in `size` pieces.
std::pair<std::size_t, std::size_t> piece(std::size_t total, int size, int rank) {
  const std::size_t begin = total * static_cast<std::size_t>(rank) / static_cast<std::size_t>(size);
  const std::size_t end =
      total * static_cast<std::size_t>(rank + 1) / static_cast<std::size_t>(size);
  return {begin, end - begin};
}

std::vector<Round> tree(const Group& group, int root, Room data) {
  const int size = group.size();
  const int place = wrap(group.rank() - root, size);
  std::vector<Round> rounds;
  int mask = 1;
  while (mask < size && (place & mask) == 0) mask <<= 1;
  if (place != 0) rounds.push_back({0, {}, {{wrap(place - mask + root, size), data}}});
  for (mask >>= 1; mask > 0; mask >>= 1) {
    if (place + mask < size) rounds.push_back({0, {{wrap(place + mask + root, size), data}}, {}});
  }
  return rounds;
}

// Around the ring: in round k every rank passes on the piece that it got in round k - 1.
template <typename Piece>
void add_ring(std::vector<Round>& rounds, const Group& group, const Piece& piece_of) {
  const int size = group.size();
  const int rank = group.rank();
  for (int step = 0; step < size - 1; ++step) {
    const Room leaves = piece_of(wrap(rank - step, size));
    const Room comes = piece_of(wrap(rank - step - 1, size));
    const auto number = static_cast<std::uint32_t>(step + 1);
    rounds.push_back({number, {{wrap(rank + 1, size), leaves}}, {{wrap(rank - 1, size), comes}}});
  }
}

std::vector<Round> scatter_and_ring(const Group& group, int root, Room data) {
  const auto piece_of = [&](int rank) {
    const auto [begin, length] = piece(data.size(), group.size(), rank);
    return data.subspan(begin, length);
  };
  Round first;
  if (group.rank() != root) {
    first.receives.push_back({root, piece_of(group.rank())});
  } else {
    for (int distance = 1; distance < group.size(); ++distance) {
      const int peer = wrap(root + distance, group.size());
      first.sends.push_back({peer, piece_of(peer)});
    }
  }
  std::vector<Round> rounds{std::move(first)};
  add_ring(rounds, group, piece_of);
  return rounds;
}

// Bruck et al., 1997: what is held doubles every round; row 0 of `rows` is the caller's own.
std::vector<Round> doubling(const Group& group, Room rows, std::size_t row) {
  std::vector<Round> rounds;
  const int size = group.size();
  for (int have = 1; have < size; have *= 2) {
    const std::size_t moved = at(std::min(have, size - have), row);
    rounds.push_back({static_cast<std::uint32_t>(have),
                      {{wrap(group.rank() - have, size), rows.first(moved)}},
                      {{wrap(group.rank() + have, size), rows.subspan(at(have, row), moved)}}});
  }
  return rounds;
}

}  // namespace

void barrier(Mesh& mesh, Group& group, const Call& call) {
  std::vector<Round> rounds;
  for (int distance = 1; distance < group.size(); distance *= 2) {
    rounds.push_back({static_cast<std::uint32_t>(distance),
                      {{wrap(group.rank() + distance, group.size()), {}}},
                      {{wrap(group.rank() - distance, group.size()), {}}}});
  }
  mesh.run(group, call, rounds);
}

void bcast(Mesh& mesh, Group& group, const Call& call, Room data) {
  check_root(group, call);
  const bool small = data.size() <= 8 * kSmallBytes || group.size() <= 2;
  mesh.run(group, call,
           small ? tree(group, call.root, data) : scatter_and_ring(group, call.root, data));
}

void gather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows) {
  check_root(group, call);
  Round round;
  if (group.rank() != call.root) {
    round.sends.push_back({call.root, mine});
  } else {
    check_rows(group, rows.size(), mine.size());
    copy(rows.subspan(at(call.root, mine.size()), mine.size()), mine);
    for (int rank = 0; rank < group.size(); ++rank) {
      if (rank == call.root) continue;
      round.receives.push_back({rank, rows.subspan(at(rank, mine.size()), mine.size())});
    }
  }
  mesh.run(group, call, {&round, 1});
}

void scatter(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room mine) {
  check_root(group, call);
  Round round;
  if (group.rank() != call.root) {
    round.receives.push_back({call.root, mine});
  } else {
    check_rows(group, rows.size(), mine.size());
    copy(mine, rows.subspan(at(call.root, mine.size()), mine.size()));
    for (int rank = 0; rank < group.size(); ++rank) {
      if (rank == call.root) continue;
      round.sends.push_back({rank, rows.subspan(at(rank, mine.size()), mine.size())});
    }
  }
  mesh.run(group, call, {&round, 1});
}

void allgather(Mesh& mesh, Group& group, const Call& call, Bytes mine, Room rows) {
  check_rows(group, rows.size(), mine.size());
  const std::size_t row = mine.size();
  if (rows.size() <= kSmallBytes) {
    std::vector<std::byte> turned(rows.size());
    copy(turned, mine);
    mesh.run(group, call, doubling(group, turned, row));
    // Row i of `turned` is from the rank i places ahead of the caller.
    const std::size_t ahead = at(group.size() - group.rank(), row);
    copy(rows.subspan(at(group.rank(), row)), Bytes(turned).first(ahead));
    copy(rows, Bytes(turned).subspan(ahead));
    return;
  }
  copy(rows.subspan(at(group.rank(), row), row), mine);
  std::vector<Round> rounds;
  add_ring(rounds, group, [&](int rank) { return rows.subspan(at(rank, row), row); });
  mesh.run(group, call, rounds);
}

void alltoall(Mesh& mesh, Group& group, const Call& call, Bytes rows, Room result) {
  if (rows.size() != result.size()) throw std::invalid_argument("rows and result differ in size");
  const std::size_t row = rows.size() / static_cast<std::size_t>(group.size());
  check_rows(group, rows.size(), row);
  const std::size_t own = at(group.rank(), row);
  copy(result.subspan(own, row), rows.subspan(own, row));
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  for (int distance = 1; distance < group.size(); ++distance) {
    const int to = wrap(group.rank() + distance, group.size());
    const int from = wrap(group.rank() - distance, group.size());
    sends.push_back({to, rows.subspan(at(to, row), row)});
    receives.push_back({from, result.subspan(at(from, row), row)});
  }
  exchange(mesh, group, call, sends, receives);
}

void exchange(Mesh& mesh, Group& group, const Call& call, const std::vector<Outgoing>& sends,
              const std::vector<Incoming>& receives) {
  // By distance, so that every rank starts with another peer and windows fit each other.
  std::vector<Round> rounds(static_cast<std::size_t>((group.size() + kWindow - 1) / kWindow));
  const auto window_of = [&](int rank, int direction) -> Round& {
    if (rank < 0 || rank >= group.size() || rank == group.rank()) {
      throw std::invalid_argument("rank " + std::to_string(rank) + " is no other member");
    }
    const int distance = wrap(direction * (rank - group.rank()), group.size());
    return rounds[static_cast<std::size_t>((distance - 1) / kWindow)];
  };
  for (const Outgoing& part : sends) window_of(part.rank, 1).sends.push_back(part);
  for (const Incoming& part : receives) window_of(part.rank, -1).receives.push_back(part);
  mesh.run(group, call, rounds);
}

}  // namespace elevon::net

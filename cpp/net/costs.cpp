#include "net/costs.hpp"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace elevon::net {
namespace {

// Copying and folding a byte in memory, while another core does the same.
constexpr double kCopyS = 0.1e-9;
// Between two hosts, where nothing has been measured: 10 Gbit/s.
constexpr double kNetworkS = 0.8e-9;
// What a root does with a message, as part of what both ends do.
constexpr double kOneEnd = 1.0 / 3;
constexpr double kCrowded = 1.5;

// Whether both ends of a socket have the same address, whatever the port.
bool is_local(int descriptor) {
  std::array<sockaddr_storage, 2> ends{};
  socklen_t size = sizeof(sockaddr_storage);
  socklen_t other = size;
  if (::getsockname(descriptor, reinterpret_cast<sockaddr*>(&ends[0]), &size) != 0 ||
      ::getpeername(descriptor, reinterpret_cast<sockaddr*>(&ends[1]), &other) != 0) {
    return true;
  }
  if (ends[0].ss_family != ends[1].ss_family) return false;
  if (ends[0].ss_family == AF_INET) {
    const auto* one = reinterpret_cast<const sockaddr_in*>(&ends[0]);
    const auto* peer = reinterpret_cast<const sockaddr_in*>(&ends[1]);
    return one->sin_addr.s_addr == peer->sin_addr.s_addr;
  }
  if (ends[0].ss_family != AF_INET6) return true;
  const auto* one = reinterpret_cast<const sockaddr_in6*>(&ends[0]);
  const auto* peer = reinterpret_cast<const sockaddr_in6*>(&ends[1]);
  return std::memcmp(&one->sin6_addr, &peer->sin6_addr, sizeof one->sin6_addr) == 0;
}

int rounds_of_doubling(int size) {
  return size <= 1 ? 0 : std::bit_width(static_cast<unsigned>(size - 1));
}

// One call as the model sees it.
struct Model {
  Model(int size, std::size_t count, const Costs& agreed)
      : costs(agreed),
        members(size),
        others(size - 1),
        rounds(rounds_of_doubling(size)),
        bytes(static_cast<double>(count)) {}

  // This many messages at once, or one after another with all of these bytes.
  [[nodiscard]] double at_once(double messages, double moved) const {
    return costs.alpha_s + in_turn(messages, moved);
  }
  [[nodiscard]] double in_turn(double messages, double moved) const {
    return messages * costs.overhead_s + moved * costs.beta_s_per_byte;
  }
  [[nodiscard]] double each_round(double count, double moved) const {
    return count * costs.alpha_s + in_turn(count, moved);
  }
  // All rows to all, turned around by two copies in the end.
  [[nodiscard]] double doubling() const {
    return each_round(rounds, others * bytes) + 2 * members * bytes * kCopyS;
  }

  Costs costs;
  double members;
  double others;
  double rounds;
  double bytes;
};

// The tree sends everything log2(P) times in a row, scatter and ring everything twice at once.
Algorithm of_bcast(const Model& model) {
  const double share = model.bytes / model.members * model.others;
  const double tree = model.each_round(model.rounds, model.rounds * model.bytes);
  const double ring = model.at_once(model.others, share) + model.each_round(model.others, share);
  return tree <= ring ? Algorithm::kTree : Algorithm::kRing;
}

// The root has one end of every message, and mostly finds several at once. The inner members of the
// tree copy half of everything and pass it on once more.
Algorithm of_root(const Model& model) {
  const double all = model.others * model.bytes;
  const double half = model.members / 2 * model.bytes;
  const double direct = model.at_once(model.others * kOneEnd, all);
  const double tree = model.each_round(model.rounds, all + half) + 2 * half * kCopyS;
  return tree < direct ? Algorithm::kTree : Algorithm::kDirect;
}

// Rows of any lengths, in the mean of these bytes; several large ones at once crowd each other out
// on the way.
Algorithm of_allgatherv(const Model& model) {
  const double all = model.others * model.bytes;
  const double direct = model.at_once(model.others, kCrowded * all);
  return model.each_round(model.others, all) < direct ? Algorithm::kRing : Algorithm::kDirect;
}

// Equal rows can double, too, and are turned afterwards. By whatever way, every row crosses P - 1
// links.
Algorithm of_allgather(const Model& model) {
  const double all = model.others * model.bytes;
  const double direct = model.at_once(model.others, kCrowded * all);
  const double ring = model.each_round(model.others, all);
  return model.doubling() < std::min(direct, ring) ? Algorithm::kDoubling : of_allgatherv(model);
}

Algorithm of_alltoall(const Model& model) {
  const double half = model.members / 2 * model.bytes;
  const double direct = model.at_once(model.others, model.others * model.bytes);
  const double doubling =
      model.each_round(model.rounds, model.rounds * half) + 4 * model.rounds * half * kCopyS;
  return doubling < direct ? Algorithm::kDoubling : Algorithm::kDirect;
}

// Everybody gets everything and folds all of it, or the slices of everybody and folds those.
Algorithm or_slices(const Model& model, Algorithm collecting) {
  const double all = model.others * model.bytes;
  const double share = all / model.members;
  const double collected =
      collecting == Algorithm::kDoubling ? model.doubling() : model.at_once(model.others, all);
  const double whole = collected + all * kCopyS;
  const double slices = 2 * model.at_once(model.others, share) + share * kCopyS;
  return whole <= slices ? collecting : Algorithm::kSlices;
}

}  // namespace

bool Costs::sound() const {
  return std::ranges::all_of(std::array{alpha_s, overhead_s, beta_s_per_byte},
                             [](double cost) { return std::isfinite(cost) && cost >= 0; });
}

Costs measured_on(int descriptor) {
  Costs costs;
  if (is_local(descriptor)) return costs;
  costs.beta_s_per_byte = kNetworkS;
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < sizeof info) {
    return costs;
  }
  costs.alpha_s += info.tcpi_min_rtt * 1e-6 / 2;
  // What an application has held back says nothing about the network.
  if (info.tcpi_delivery_rate_app_limited == 0 && info.tcpi_delivery_rate > 0) {
    costs.beta_s_per_byte = 1.0 / static_cast<double>(info.tcpi_delivery_rate);
  }
  return costs;
}

Costs slower(const Costs& one, const Costs& other) {
  return {std::max(one.alpha_s, other.alpha_s), std::max(one.overhead_s, other.overhead_s),
          std::max(one.beta_s_per_byte, other.beta_s_per_byte)};
}

const char* name_of(Algorithm algorithm) {
  static constexpr std::array<const char*, 5> kNames = {"direct", "tree", "doubling", "ring",
                                                        "slices"};
  return kNames[static_cast<std::size_t>(algorithm)];
}

Algorithm choose(Kind kind, int size, std::size_t bytes, const Costs& costs) {
  const Model model(size, bytes, costs);
  switch (kind) {
    case Kind::kBarrier: return Algorithm::kDoubling;
    case Kind::kBcast: return of_bcast(model);
    case Kind::kGather:
    case Kind::kScatter: return of_root(model);
    case Kind::kAllgather: return of_allgather(model);
    case Kind::kAllgatherv: return of_allgatherv(model);
    case Kind::kAlltoall:
    case Kind::kReduceScatter: return of_alltoall(model);
    case Kind::kReduce: return or_slices(model, of_root(model));
    case Kind::kAllreduce:
    case Kind::kScan: return or_slices(model, of_allgather(model));
    default: return Algorithm::kDirect;
  }
}

}  // namespace elevon::net

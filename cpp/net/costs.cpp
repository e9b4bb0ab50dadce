#include "net/costs.hpp"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

namespace elevon::net {
namespace {

// Copying and folding a byte in memory, while another core does the same.
constexpr double kCopyS = 0.1e-9;
// From this many members on a root is busy longer with single messages than a tree is deep, see
// docs/decisions/0007-collective-algorithms.md.
constexpr int kManyMembers = 32;

int rounds_of_doubling(int size) {
  return size <= 1 ? 0 : std::bit_width(static_cast<unsigned>(size - 1));
}

// The tree sends everything log2(P) times in a row, scatter and ring everything twice at once.
Algorithm of_bcast(int size, double bytes, const Costs& costs) {
  const double others = size - 1;
  const double depth = rounds_of_doubling(size);
  const double tree = depth * (costs.alpha_s + bytes * costs.beta_s_per_byte);
  const double ring = 2 * others * (costs.alpha_s + bytes / size * costs.beta_s_per_byte);
  return tree <= ring ? Algorithm::kTree : Algorithm::kRing;
}

Algorithm of_root(int size, double bytes, const Costs& costs) {
  // The inner members pass half of everything on once more, from memory of their own.
  const double more = (size / 2.0) * bytes * (costs.beta_s_per_byte + 2 * kCopyS);
  const double saved = (size - 1 - rounds_of_doubling(size)) * costs.alpha_s;
  return size >= kManyMembers && more < saved ? Algorithm::kTree : Algorithm::kDirect;
}

// Both move every row over P - 1 links; doubling has fewer rounds and turns the rows afterwards.
Algorithm of_allgather(int size, double bytes, const Costs& costs) {
  const double turned = 2 * size * bytes * kCopyS;
  const double saved = (size - 1 - rounds_of_doubling(size)) * costs.alpha_s;
  return turned < saved ? Algorithm::kDoubling : Algorithm::kRing;
}

Algorithm of_alltoall(int size, double bytes, const Costs& costs) {
  const double others = size - 1;
  const double rounds = rounds_of_doubling(size);
  const double direct = others * (costs.alpha_s + bytes * costs.beta_s_per_byte);
  const double half = bytes * size / 2;
  const double doubling = rounds * (costs.alpha_s + half * (costs.beta_s_per_byte + 2 * kCopyS));
  return doubling < direct ? Algorithm::kDoubling : Algorithm::kDirect;
}

// Everybody gets everything and folds all of it, or the slices of everybody and folds those.
bool is_whole_cheaper(int size, double bytes, const Costs& costs) {
  const double others = size - 1;
  const double whole =
      rounds_of_doubling(size) * costs.alpha_s + others * bytes * (costs.beta_s_per_byte + kCopyS);
  const double slices = 2 * others * costs.alpha_s +
                        others * bytes / std::max(size, 1) * (2 * costs.beta_s_per_byte + kCopyS);
  return whole <= slices;
}

}  // namespace

bool Costs::sound() const {
  return std::isfinite(alpha_s) && std::isfinite(beta_s_per_byte) && alpha_s >= 0 &&
         beta_s_per_byte >= 0;
}

Costs measured_on(int descriptor) {
  Costs costs;
  tcp_info info{};
  socklen_t size = sizeof info;
  const int result = ::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size);
  if (result != 0 || size < sizeof info) return costs;
  // The default is what the two ends do with a message; the way between them is added.
  costs.alpha_s += info.tcpi_min_rtt * 1e-6 / 2;
  // What an application has held back says nothing about the network.
  if (info.tcpi_delivery_rate_app_limited == 0 && info.tcpi_delivery_rate > 0) {
    const double measured = 1.0 / static_cast<double>(info.tcpi_delivery_rate);
    costs.beta_s_per_byte = std::max(costs.beta_s_per_byte, measured);
  }
  return costs;
}

Costs slower(const Costs& one, const Costs& other) {
  return {std::max(one.alpha_s, other.alpha_s),
          std::max(one.beta_s_per_byte, other.beta_s_per_byte)};
}

const char* name_of(Algorithm algorithm) {
  static constexpr std::array<const char*, 5> kNames = {"direct", "tree", "doubling", "ring",
                                                        "slices"};
  return kNames[static_cast<std::size_t>(algorithm)];
}

Algorithm choose(Kind kind, int size, std::size_t bytes, const Costs& costs) {
  const auto count = static_cast<double>(bytes);
  switch (kind) {
    case Kind::kBarrier: return Algorithm::kDoubling;
    case Kind::kBcast: return of_bcast(size, count, costs);
    case Kind::kGather:
    case Kind::kScatter: return of_root(size, count, costs);
    case Kind::kAllgather: return of_allgather(size, count, costs);
    case Kind::kAlltoall:
    case Kind::kReduceScatter: return of_alltoall(size, count, costs);
    case Kind::kReduce:
      return is_whole_cheaper(size, count, costs) ? of_root(size, count, costs)
                                                  : Algorithm::kSlices;
    case Kind::kAllreduce:
    case Kind::kScan:
      return is_whole_cheaper(size, count, costs) ? Algorithm::kDoubling : Algorithm::kSlices;
    default: return Algorithm::kDirect;
  }
}

}  // namespace elevon::net

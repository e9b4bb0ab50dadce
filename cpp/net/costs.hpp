// What messages cost between the members of a group, and which algorithm that makes the cheapest.
//
// A message is under way for alpha seconds, keeps each end busy for an overhead and takes beta for
// each byte: LogGP (Alexandrov et al., 1995), without its gap. Several messages at once are under
// way together, but their overheads and bytes add up. All members have to choose alike, so nothing
// but the kind of the call, the size of the group, the bytes that all pass and the agreed costs may
// decide.
#pragma once

#include <cstddef>
#include <cstdint>

#include "net/frame.hpp"

namespace elevon::net {

struct Costs {
  // Between processes of one host, see docs/decisions/0007-collective-algorithms.md.
  double alpha_s = 5e-6;
  double overhead_s = 15e-6;
  double beta_s_per_byte = 0.1e-9;
  // Finite and not negative: they come from other processes.
  [[nodiscard]] bool sound() const;
};

// Of a connected TCP socket to another host what the kernel has measured so far, by the proofs and
// tests that it was opened with; the default for any other socket.
[[nodiscard]] Costs measured_on(int descriptor);
// The worse of both in everything.
[[nodiscard]] Costs slower(const Costs& one, const Costs& other);

enum class Algorithm : std::uint8_t {
  kDirect,    // every message goes straight to its receiver
  kTree,      // binomial: log2(P) rounds, inner members pass on what is not theirs
  kDoubling,  // Bruck: log2(P) rounds, each moves more than is needed
  kRing,      // P - 1 rounds between neighbours, one message at a time
  kSlices,    // of reductions: each member folds one slice of what all have
};
// "direct", "tree" ...; for tests and measurements.
[[nodiscard]] const char* name_of(Algorithm algorithm);

// The cheapest for a collective of `size` members, each of whom passes `bytes`: of a rooted or
// reducing one its whole array, of alltoall and reduce_scatter the row for one peer.
[[nodiscard]] Algorithm choose(Kind kind, int size, std::size_t bytes, const Costs& costs);

}  // namespace elevon::net

// What messages cost between the members of a group, and which algorithm that makes the cheapest.
// Before it: frame. After it: mesh finds out the costs and has the members agree on them;
// collectives choose.
//
// A message of n bytes takes alpha + n beta seconds (Hockney, 1994). The model is crude, and enough
// to tell latency from bandwidth. All members have to choose alike, so nothing but the kind of the
// call, the size of the group, the bytes that all pass and the agreed costs may decide.
#pragma once

#include <cstddef>
#include <cstdint>

#include "net/frame.hpp"

namespace elevon::net {

struct Costs {
  double alpha_s = 20e-6;           // loopback, a wake-up included
  double beta_s_per_byte = 0.3e-9;  // loopback, 3.3 GB/s
  // Finite and not negative: they come from other processes.
  [[nodiscard]] bool sound() const;
};

// What the kernel has measured on a connected TCP socket so far, by the proofs and tests that it
// was opened with; the default for any other socket.
[[nodiscard]] Costs measured_on(int descriptor);
// The slower of both, in latency and in bandwidth.
[[nodiscard]] Costs slower(const Costs& one, const Costs& other);

enum class Algorithm : std::uint8_t {
  kDirect,    // every message goes straight to its receiver
  kTree,      // binomial: log2(P) rounds, inner members pass on what is not theirs
  kDoubling,  // Bruck: log2(P) rounds, each moves more than is needed
  kRing,      // P - 1 rounds between neighbours, nothing crosses a link twice
  kSlices,    // of reductions: each member folds one slice of what all have
};
// "direct", "tree" ...; for tests and measurements.
[[nodiscard]] const char* name_of(Algorithm algorithm);

// The cheapest for a collective of `size` members, each of whom passes `bytes`: of a rooted or
// reducing one its whole array, of alltoall and reduce_scatter the row for one peer.
[[nodiscard]] Algorithm choose(Kind kind, int size, std::size_t bytes, const Costs& costs);

}  // namespace elevon::net

#include "net/frame.hpp"

#include <array>

namespace elevon::net {

const char* name_of(Kind kind) {
  static constexpr std::array<const char*, kKinds> kNames = {
      "notice",         "barrier",    "bcast",    "gather",    "gatherv", "scatter",   "scatterv",
      "allgather",      "allgatherv", "alltoall", "alltoallv", "reduce",  "allreduce", "scan",
      "reduce_scatter", "message",    "goodbye",  "costs",     "sample",  "readable",  "taken"};
  const auto index = static_cast<std::uint32_t>(kind);
  return index < kKinds ? kNames[index] : "unknown";
}

}  // namespace elevon::net

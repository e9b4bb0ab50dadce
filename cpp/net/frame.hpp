// What lies on the wire between two ranks.
//
// A message is one or more frames, each a header and at most kChunkBytes of payload, so that a
// notice can overtake a large message and a sender that gives up never owes more than one chunk.
// The header names the group, the call and its shape: a receiver compares them with what it waits
// for, so members that call different things are told so instead of mixing up data.
#pragma once

#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace elevon::net {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

inline constexpr std::uint32_t kMagic = 0x324e4c45;  // "ELN2": a new layout gets a new number
inline constexpr std::int64_t kChunkBytes = 1 << 20;
inline constexpr std::int64_t kLongestReason = 1000;

enum class Kind : std::uint16_t {
  kNotice = 0,  // the group has failed; the payload says why
  kBarrier = 1,
  kBcast = 2,
  kGather = 3,
  kGatherv = 4,
  kScatter = 5,
  kScatterv = 6,
  kAllgather = 7,
  kAllgatherv = 8,
  kAlltoall = 9,
  kAlltoallv = 10,
  kReduce = 11,
  kAllreduce = 12,
  kScan = 13,
  kReduceScatter = 14,
  kMessage = 15,   // point to point
  kGoodbye = 16,   // the sender leaves on purpose; it has done its part of whatever was begun
  kCosts = 17,     // the payload says what messages cost the sender
  kSample = 18,    // the payload says how to try whether the sender's memory can be read
  kReadable = 19,  // yes
  kTaken = 20,     // the payload is the token of an offer that was read, or is not wanted
};
inline constexpr std::uint32_t kKinds = 21;
inline constexpr std::uint32_t kCollectives = 16;  // those below are calls of a group

// "barrier", "bcast" ...; for error messages.
[[nodiscard]] const char* name_of(Kind kind);

// A group: the agent's number, and for groups that were split from it the way from there.
struct GroupId {
  std::uint64_t context = 0;
  std::uint64_t path = 0;
  auto operator<=>(const GroupId&) const = default;
};

struct Frame {
  std::uint32_t magic = kMagic;
  Kind kind = Kind::kNotice;
  std::uint16_t offered = 0;  // 1: the payload says where the message lies in the sender's memory
  GroupId group;
  std::uint64_t call = 0;   // number of the collective in its group; a notice: its FailureKind
  std::int32_t root = -1;   // a notice: the rank to blame
  std::uint16_t step = 0;   // of the collective's schedule
  std::uint16_t what = 0;   // a reduction: of what, see fold.hpp
  std::int64_t total = 0;   // bytes of the whole message
  std::int64_t offset = 0;  // of this frame's payload in it
  std::int64_t size = 0;    // of this frame's payload
};
inline constexpr std::int64_t kHeaderBytes = 64;
static_assert(sizeof(Frame) == kHeaderBytes);

// Whether two headers are of messages that fit each other.
[[nodiscard]] inline bool agree(const Frame& one, const Frame& other) {
  return one.kind == other.kind && one.call == other.call && one.root == other.root &&
         one.step == other.step && one.what == other.what && one.total == other.total;
}

struct GroupIdHash {
  [[nodiscard]] std::size_t operator()(const GroupId& id) const {
    return std::hash<std::uint64_t>{}(id.context * 0x9E3779B97F4A7C15ULL ^ id.path);
  }
};

}  // namespace elevon::net

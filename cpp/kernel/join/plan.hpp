// How two sides of given sizes and codes are joined: which side is built, into how many partitions,
// and how a code finds its slot.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernel/join/join.hpp"
#include "kernel/join/keys.hpp"

namespace elevon::kernel {

struct JoinPlan {
  bool build_left = false;  // the other side probes
  bool ranged = false;      // slots are values; otherwise hashes
  bool wide = false;        // row numbers need 64 bits
  int partition_bits = 0;
  int slot_bits = 0;  // of one partition
  std::uint64_t base = 0;
  int threads = 1;
  std::int64_t segment_rows = 0;

  [[nodiscard]] int partitions() const { return 1 << partition_bits; }
  [[nodiscard]] std::int64_t slots() const { return std::int64_t{1} << slot_bits; }
};

[[nodiscard]] JoinPlan make_plan(std::int64_t left_rows, std::int64_t right_rows,
                                 const JoinKeys& keys, const JoinSpec& spec);

// Where a code goes: a partition (the one past the last holds what matches nothing), and there
// what is kept of it to find the slot and to tell it from others.
template <typename Local>
struct Split {
  std::uint32_t partition;
  Local local;
};

// Slots by value: a partition is a part of the range, the offset in it is the slot, and two rows
// of one slot are equal. Codes outside of the range match nothing.
template <typename LocalType>
class RangeScheme {
 public:
  using Local = LocalType;
  using Slot = LocalType;
  static constexpr bool kExact = true;

  explicit RangeScheme(const JoinPlan& plan)
      : base_(plan.base),
        mask_((std::uint64_t{1} << plan.slot_bits) - 1),
        shift_(plan.slot_bits),
        outside_(static_cast<std::uint64_t>(plan.partitions())) {}

  [[nodiscard]] Split<Local> split(std::uint64_t code) const {
    const std::uint64_t distance = code - base_;
    return {static_cast<std::uint32_t>(std::min(distance >> shift_, outside_)),
            static_cast<Local>(distance & mask_)};
  }
  [[nodiscard]] Slot slot(Local local) const { return local; }
  [[nodiscard]] std::uint64_t code(Local local, int partition) const {
    return base_ + (static_cast<std::uint64_t>(partition) << shift_) + local;
  }

 private:
  std::uint64_t base_;
  std::uint64_t mask_;
  int shift_;
  std::uint64_t outside_;
};

// The odd number that undoes the multiplication by another, modulo 2^64. Newton's iteration doubles
// the right bits each time; 5 are right from the start.
constexpr std::uint64_t multiplicative_inverse(std::uint64_t odd) {
  std::uint64_t result = 3 * odd ^ 2;
  for (int i = 0; i < 4; ++i) result *= 2 - odd * result;
  return result;
}

// Slots by hash: the highest bits of the mixed code are the partition, the next ones the slot.
// Mixing is a bijection, so equal mixed codes are equal codes. One multiplication is enough here:
// only its high bits are used, and every bit of the code reaches them.
class HashScheme {
 public:
  using Local = std::uint64_t;
  using Slot = std::uint32_t;
  static constexpr bool kExact = false;

  explicit HashScheme(const JoinPlan& plan)
      : partition_bits_(plan.partition_bits), slot_shift_(64 - plan.slot_bits) {}

  [[nodiscard]] Split<Local> split(std::uint64_t code) const {
    const std::uint64_t mixed = (code ^ (code >> 32)) * kMultiplier;
    // Two shifts, because a shift by all 64 bits is undefined.
    return {static_cast<std::uint32_t>(mixed >> 1 >> (63 - partition_bits_)), mixed};
  }
  [[nodiscard]] Slot slot(Local local) const {
    return static_cast<std::uint32_t>((local << partition_bits_) >> slot_shift_);
  }
  [[nodiscard]] std::uint64_t code(Local local, int) const {
    const std::uint64_t unmixed = local * kInverse;
    return unmixed ^ (unmixed >> 32);
  }

 private:
  static constexpr std::uint64_t kMultiplier = 0x9FB21C651E98DF25ULL;
  static constexpr std::uint64_t kInverse = multiplicative_inverse(kMultiplier);
  static_assert(kMultiplier * kInverse == 1);

  int partition_bits_;
  int slot_shift_;
};

}  // namespace elevon::kernel

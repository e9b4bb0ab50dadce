// Sizes partitions and slots.

#include "kernel/join/plan.hpp"

#include <bit>
#include <stdexcept>

#include "kernel/base/parallel.hpp"
#include "kernel/join/config.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {

namespace {

// Partition numbers are kept in 16 bits.
constexpr int kMostForcedBits = 12;

constexpr std::int64_t kSlotBytes = 4;  // an offset
constexpr std::int64_t kRowBytes = 12;  // a row number and a payload value
constexpr std::int64_t kCodeBytes = 8;  // a code to compare, where slots are hashes

// Bits that tell `values` values apart.
int bits_for(std::uint64_t values) {
  return values <= 1 ? 0 : 64 - std::countl_zero(values - 1);
}

// Partitions of at most kPartitionBytes, or one if all fits kUnpartitionedBytes.
int partition_bits_for(std::int64_t build_bytes) {
  if (build_bytes <= join_config::kUnpartitionedBytes) return 0;
  const auto parts = static_cast<std::uint64_t>(build_bytes / join_config::kPartitionBytes + 1);
  return std::min(bits_for(parts), join_config::kMaxPartitionBits);
}

bool is_dense(const JoinKeys& keys, std::int64_t rows) {
  const auto worth = join_config::kSlotsPerRow * static_cast<std::uint64_t>(rows);
  return keys.exact && keys.span < std::max(worth, join_config::kFewSlots);
}

// The range is cut into partitions of 2^slot_bits values.
void plan_range(const JoinKeys& keys, std::int64_t build_rows, int forced_bits, JoinPlan& plan) {
  const int range_bits = bits_for(keys.span + 1);
  const std::int64_t bytes = (std::int64_t{1} << range_bits) * kSlotBytes + build_rows * kRowBytes;
  const int bits = forced_bits >= 0 ? forced_bits : partition_bits_for(bytes);
  plan.partition_bits = std::min(bits, range_bits);
  plan.slot_bits = range_bits - plan.partition_bits;
}

// At least one slot bit: shifts by all 64 bits are undefined.
void plan_hash(std::int64_t build_rows, int forced_bits, JoinPlan& plan) {
  const int slot_bits = std::max(bits_for(static_cast<std::uint64_t>(build_rows)), 1);
  const std::int64_t bytes =
      (std::int64_t{1} << slot_bits) * kSlotBytes + build_rows * (kRowBytes + kCodeBytes);
  plan.partition_bits = forced_bits >= 0 ? forced_bits : partition_bits_for(bytes);
  plan.slot_bits = std::clamp(slot_bits - plan.partition_bits, 1, 31);
}

bool is_existence(JoinType how) {
  return how == JoinType::Semi || how == JoinType::Anti;
}

void check_tuning(const JoinTuning& tuning) {
  const bool fits = tuning.partition_bits >= -1 && tuning.partition_bits <= kMostForcedBits &&
                    tuning.code_bits >= 1 && tuning.code_bits <= 64 && tuning.segment_rows >= 0;
  if (!fits) throw std::invalid_argument("a join's tuning is out of range");
}

}  // namespace

JoinPlan make_plan(std::int64_t left_rows, std::int64_t right_rows, const JoinKeys& keys,
                   const JoinSpec& spec) {
  check_tuning(spec.tuning);
  JoinPlan plan;
  // Semi and anti ask for each left row whether there is a partner: left probes.
  plan.build_left = left_rows < right_rows && !is_existence(spec.how);
  const std::int64_t build_rows = plan.build_left ? left_rows : right_rows;
  const std::int64_t most_rows = std::max(left_rows, right_rows);
  plan.wide = spec.tuning.wide_rows || most_rows >= std::int64_t{kNoRow32};
  plan.base = keys.base;
  plan.ranged = !spec.tuning.hash_always && is_dense(keys, left_rows + right_rows);
  if (plan.ranged) {
    plan_range(keys, build_rows, spec.tuning.partition_bits, plan);
  } else {
    plan_hash(build_rows, spec.tuning.partition_bits, plan);
  }
  plan.threads = useful_threads(most_rows, spec.threads);
  plan.segment_rows =
      spec.tuning.segment_rows > 0 ? spec.tuning.segment_rows : join_config::kSegmentRows;
  return plan;
}

}  // namespace elevon::kernel

// Splits a table into packed messages, by the hash of its keys or by given numbers, each value
// written once, straight into its message.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/exchange/message.hpp"

namespace elevon::kernel {

// Partition numbers travel in 16 bits while rows are sorted.
inline constexpr int kMaxPartitions = 65536;

// The partition of a hash: its high bits, scaled, so that any number of partitions is served.
[[nodiscard]] constexpr std::uint32_t partition_of(std::uint64_t hash, std::uint32_t partitions) {
  return static_cast<std::uint32_t>(((hash >> 32) * partitions) >> 32);
}

// `partitions` messages; rows of equal keys are in one of them, in their order. Throws
// std::invalid_argument for a key type that cannot be hashed, no keys, or a number of partitions
// out of [1, kMaxPartitions].
[[nodiscard]] std::vector<Message> partition(const arrow::Table& table,
                                             std::span<const arrow::Column* const> keys,
                                             int partitions, int threads);

// `partitions` messages; row r is in message numbers[r], in order. Throws std::invalid_argument
// unless there is a number below `partitions` for each row, or as above.
[[nodiscard]] std::vector<Message> partition_numbered(const arrow::Table& table,
                                                      std::span<const std::uint16_t> numbers,
                                                      int partitions, int threads);

}  // namespace elevon::kernel

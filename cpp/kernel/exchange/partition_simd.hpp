// The loops of a partition by hash, with wider vectors where the processor has them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elevon::kernel {

// numbers[i] = partition_of(hashes[i], partitions).
void number_hashes(const std::uint64_t* hashes, std::int64_t count, std::uint32_t partitions,
                   std::uint16_t* numbers);

// Whether `compress` may be called here, and pays: it looks at every row once for each partition.
[[nodiscard]] bool can_compress(std::int64_t width, int partitions);

// The most partitions for which it pays.
inline constexpr int kCompressPartitions = 8;

// Moves `count` values of `width` bytes (4 or 8): value i goes to the end of targets[numbers[i]],
// which advances. Unless `exact`, up to 64 bytes behind each target's end are overwritten.
void compress(const std::byte* values, std::int64_t width, const std::uint16_t* numbers,
              std::int64_t count, int partitions, bool exact, std::byte** targets);

}  // namespace elevon::kernel

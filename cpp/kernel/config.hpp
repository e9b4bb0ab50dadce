// Every tuning constant of the kernels, each with its reason. Measured on 2-core Zen 4 machines
// (32 KiB L1, 1 MiB L2 per core, 32 MiB L3); none depends on it for correctness.
#pragma once

#include <cstdint>

namespace elevon::kernel::config {

// Cache line: alignment of all buffers, and the unit of write combining.
inline constexpr std::int64_t kCacheLine = 64;

// From here on memory comes from mmap in huge pages: below it a fault costs less than the call.
inline constexpr std::int64_t kHugePage = std::int64_t{2} << 20;

// What the pool may keep. A join of 9.1 M rows uses 0.6 GB of scratch and output; fresh pages
// for it cost three times the join itself. More would be taken from other ranks of the node.
inline constexpr std::int64_t kPoolBytes = std::int64_t{1} << 30;

// A pooled buffer may be this many times larger than asked for: an eighth of waste is cheaper
// than faulting fresh pages.
inline constexpr std::int64_t kPoolSlackDivisor = 8;

// Fewer rows than this are not worth a thread: starting one costs some 20 us.
inline constexpr std::int64_t kRowsPerThread = 16384;

// Rows hashed at a time: 8 KiB of hashes stay in L1 while further key columns are mixed in.
inline constexpr std::int64_t kHashBlock = 1024;

// How far ahead a random gather prefetches: about the latency of DRAM (90 ns) over one step.
inline constexpr std::int64_t kPrefetchDistance = 24;

}  // namespace elevon::kernel::config

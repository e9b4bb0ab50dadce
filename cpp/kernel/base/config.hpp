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

// Rows partitioned at a time: their columns stay in L2 (128 KiB for 8 bytes), and each of a few
// partitions has a run long enough for non-temporal stores.
inline constexpr std::int64_t kScatterBlock = 16384;

// Rows that a block should have for each partition: one cache line of 8-byte values at least.
inline constexpr std::int64_t kRunRows = 16;

// Runs of so many bytes are stored past the caches: shorter ones lose more on their incomplete
// lines than they save on reading the target first (measured with 256 partitions).
inline constexpr std::int64_t kStreamBytes = 1024;

// A packed dictionary is cut to the entries in use when it has more than so many times the entries
// that its rows could use at most: looking at every index costs more than sending a small one.
inline constexpr std::int64_t kIdleEntries = 2;

// The same for a dictionary of few but long entries: so many of its bytes for each row may be idle.
inline constexpr std::int64_t kIdleBytes = 16;

// How far ahead a random gather prefetches: about the latency of DRAM (90 ns) over one step.
inline constexpr std::int64_t kPrefetchDistance = 24;

}  // namespace elevon::kernel::config

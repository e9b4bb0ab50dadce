// Every tuning constant of the hash join, each with its reason. Measured on a 2-core Zen 4 machine
// (32 KiB L1, 1 MiB L2 per core, 32 MiB L3) on 9.1 M x 9.1 M rows; correctness depends on none.
#pragma once

#include <cstdint>

namespace elevon::kernel::join_config {

// Rows that one inner loop takes at a time: codes, slots and marks of a block (some 30 KiB) stay
// in L1, and the virtual call that reads the block costs nothing per row.
inline constexpr std::int64_t kBlockRows = 1024;

// What the slots, rows and codes of one partition's build side may take. Half of L2: the other
// half is for the payload that is gathered next and for the streams that pass through.
inline constexpr std::int64_t kPartitionBytes = std::int64_t{512} << 10;

// A build side up to this size is probed where it is: random reads in L3 cost less than moving
// both sides.
inline constexpr std::int64_t kUnpartitionedBytes = std::int64_t{4} << 20;

// Scattering goes to this many partitions at most. Plain stores to 512 places run at 2.1 ns a row
// (write combining with streaming stores: 2.7); 2,048 places cost 5 ns, more than larger
// partitions lose in L3.
inline constexpr int kMaxPartitionBits = 9;

// Slots of a value range per row for which direct addressing still beats hashing: an empty slot
// costs 0.4 ns to clear and sum up, hashing and checking some 4 ns a row on each side.
inline constexpr std::uint64_t kSlotsPerRow = 8;

// Below this many slots a value range is addressed directly, however few the rows.
inline constexpr std::uint64_t kFewSlots = 2048;

// Matches are written to segments of at most this many pairs: 2 MiB each side, one huge page with
// the line that a buffer keeps behind its end.
inline constexpr std::int64_t kSegmentRows = (std::int64_t{512} << 10) - 16;

// Matches that are written without asking how many there are; longer runs take their own loop.
// Three in a thousand rows have more where both sides are uniform over the same range.
inline constexpr int kUncheckedMatches = 4;

// A partition this many times larger than the mean is probed by all threads together.
inline constexpr std::int64_t kLargePartitionFactor = 4;

// Results beyond this go around the cache: they are not read again soon, and a plain store would
// first read the line that it overwrites. A quarter of L3.
inline constexpr std::int64_t kStreamBytes = std::int64_t{8} << 20;

// A value that is fetched from anywhere in memory costs as much as this many that are carried
// through the partitions: below one result in so many rows, columns are not carried.
inline constexpr std::int64_t kCarryFactor = 4;

// How far ahead bytes of strings are fetched when the keys of candidate pairs are compared.
inline constexpr std::int64_t kComparePrefetch = 16;

}  // namespace elevon::kernel::join_config

// Tuning of sort and merge, each constant with its reason. Measured on a 2-core Zen 4 machine
// (32 KiB L1, 1 MiB L2 per core); none matters for correctness.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elevon::kernel::sort_config {

// Rows of a bucket: its words, their copy and one column of 8 bytes fill half of L2.
inline constexpr std::int64_t kBucketRows = std::int64_t{1} << 14;

// More buckets than this and each row is written through a combining line in L2 instead of right
// to its bucket: 512 open cache lines are what L1 holds, beyond it plain stores cost three times
// as much (measured at 512 and 1024).
inline constexpr int kDirectBuckets = 512;

// Rather than to exceed kDirectBuckets, buckets grow this many times: L2 still holds a column.
inline constexpr std::int64_t kBucketGrowth = 4;

// Combining lines of 4096 buckets are 256 KiB, a quarter of L2.
inline constexpr int kMaxBuckets = 4096;

// Rows sampled per bucket, to see whether equal ranges of words hold equal numbers of rows.
inline constexpr std::int64_t kSamplesPerBucket = 8;

// A bucket with more than this many times its share of the sample: ranges are cut anew, by the
// sample. With 8 samples per bucket chance alone stays below 4 times the share.
inline constexpr std::int64_t kSkew = 4;

// Digits of a radix pass in cache: 2^14 counters are 64 KiB.
inline constexpr int kMaxDigitBits = 14;

// Bits sorted beyond log2(rows): ties among random words are then rarer than one in 32.
inline constexpr int kSpareBits = 5;

// Up to here insertion sort is faster than a radix pass.
inline constexpr std::int64_t kInsertionRows = 24;

// Longer runs of tied rows are sorted by radix passes; their counters cost more than a short run.
inline constexpr std::size_t kRadixRun = 512;

// Results larger than this are written past the caches: nobody reads them before they are evicted.
inline constexpr std::int64_t kStreamBytes = std::int64_t{8} << 20;

}  // namespace elevon::kernel::sort_config

namespace elevon::kernel {

// What depends on the size of tables, chosen by hand: tests reach every path with small ones.
struct SortTuning {
  std::int64_t bucket_rows = sort_config::kBucketRows;
  int direct_buckets = sort_config::kDirectBuckets;
};

}  // namespace elevon::kernel

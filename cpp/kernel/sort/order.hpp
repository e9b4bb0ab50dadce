// The sorted order of a table's rows: words to their buckets, buckets sorted one by one.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "kernel/keys/normalize.hpp"
#include "kernel/sort/buckets.hpp"
#include "kernel/sort/writer.hpp"

namespace elevon::kernel {

// Sorts every bucket, and fills the decoded columns on the way.
[[nodiscard]] RowOrder sort_buckets(const KeyOrder& order, const Buckets& buckets,
                                    std::span<const DecodedColumn> decoded);

// Row numbers in order of buckets: what each of a bucket's rows was in the table.
template <typename Row>
[[nodiscard]] OwnedArray<Row> scatter_row_numbers(const Buckets& buckets);

// Calls f(worker, index) for every index below `count`, dealt out in small groups as threads get
// free: work per index may differ widely.
template <typename F>
void for_each_dealt(int count, int threads, F&& f) {
  constexpr int kGroup = 4;
  std::atomic<int> next{0};
  parallel(threads, [&](int worker) {
    for (int begin = 0; (begin = next.fetch_add(kGroup, std::memory_order_relaxed)) < count;) {
      for (int index = begin; index < std::min(begin + kGroup, count); ++index) f(worker, index);
    }
  });
}

}  // namespace elevon::kernel

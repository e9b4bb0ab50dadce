#include "kernel/sort/order.hpp"

#include <array>
#include <memory>

#include "kernel/sort/config.hpp"
#include "kernel/sort/local.hpp"
#include "kernel/sort/scatter.hpp"

namespace elevon::kernel {
namespace {

constexpr std::int64_t kBlock = 1024;  // rows handled at a time: their words stay in L1

// Moves the words to their buckets, but only the bits in `mask`.
template <typename Stored>
OwnedArray<Stored> scatter_words(const KeyOrder& order, const Buckets& buckets, Code mask) {
  OwnedArray<Stored> stored(buckets.rows);
  parallel(buckets.threads, [&](int thread) {
    std::array<Code, kBlock> words;
    Scatter<Stored> scatter(buckets, thread, stored.data());
    const Range rows = buckets.part(thread);
    for (std::int64_t begin = rows.begin; begin < rows.end; begin += kBlock) {
      const Range block{begin, std::min(begin + kBlock, rows.end)};
      order.encode(block, words.data());
      scatter.add(block.size(), [&](std::int64_t i) {
        return static_cast<Stored>(words[static_cast<std::size_t>(i)] & mask);
      });
    }
    scatter.finish();
  });
  return stored;
}

// What one thread needs to sort bucket after bucket.
struct Worker {
  Worker(const KeyOrder& order, std::span<const DecodedColumn> decoded, RowOrder& result)
      : writer(order, decoded, result) {}
  LocalSorter sorter;
  OrderWriter writer;
};

template <typename Stored>
void sort_all(const KeyOrder& order, const Buckets& buckets, std::span<const DecodedColumn> decoded,
              int open_bits, RowOrder& result) {
  const Code mask = open_bits == 64 ? ~Code{0} : (Code{1} << open_bits) - 1;
  const OwnedArray<Stored> stored = scatter_words<Stored>(order, buckets, mask);
  OwnedArray<std::int64_t> numbers;
  if (!order.exact()) numbers = scatter_row_numbers<std::int64_t>(buckets);
  std::vector<std::unique_ptr<Worker>> workers(static_cast<std::size_t>(buckets.threads));
  for_each_dealt(buckets.count(), buckets.threads, [&](int thread, int bucket) {
    auto& worker = workers[static_cast<std::size_t>(thread)];
    if (!worker) worker = std::make_unique<Worker>(order, decoded, result);
    const Range rows = buckets.bucket(bucket);
    const Code origin = open_bits < order.bits() ? static_cast<Code>(bucket) << open_bits : 0;
    worker->sorter.sort({stored.data() + rows.begin, static_cast<std::size_t>(rows.size())}, origin,
                        open_bits);
    worker->writer.write(bucket, rows, worker->sorter, numbers.data() + rows.begin);
  });
}

}  // namespace

template <typename Row>
OwnedArray<Row> scatter_row_numbers(const Buckets& buckets) {
  OwnedArray<Row> numbers(buckets.rows);
  parallel(buckets.threads, [&](int thread) {
    Scatter<Row> scatter(buckets, thread, numbers.data());
    const Range rows = buckets.part(thread);
    scatter.add(rows.size(), [&](std::int64_t i) { return static_cast<Row>(rows.begin + i); });
    scatter.finish();
  });
  return numbers;
}

template OwnedArray<std::uint32_t> scatter_row_numbers(const Buckets& buckets);
template OwnedArray<std::int64_t> scatter_row_numbers(const Buckets& buckets);

RowOrder sort_buckets(const KeyOrder& order, const Buckets& buckets,
                      std::span<const DecodedColumn> decoded) {
  RowOrder result(buckets.rows, buckets.count(), buckets.largest());
  const Classifier& classifier = buckets.classifier;
  // Where buckets are equal ranges, their number stands for the bits above the shift.
  const int open_bits = classifier.by_shift() ? classifier.shift() : order.bits();
  if (open_bits <= 32) {
    sort_all<std::uint32_t>(order, buckets, decoded, open_bits, result);
  } else {
    sort_all<std::uint64_t>(order, buckets, decoded, open_bits, result);
  }
  return result;
}

}  // namespace elevon::kernel

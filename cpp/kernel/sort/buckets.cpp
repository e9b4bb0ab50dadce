#include "kernel/sort/buckets.hpp"

#include <algorithm>
#include <array>
#include <bit>

#include "kernel/sort/config.hpp"

namespace elevon::kernel {
namespace {

constexpr std::int64_t kBlock = 1024;  // rows encoded at a time: their words stay in L1

int bits_of(std::int64_t count) {
  return static_cast<int>(
      std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(count - 1, 0))));
}

// log2 of the number of buckets for so many rows.
int wanted_bits(std::int64_t rows, const SortTuning& tuning) {
  const int direct = bits_of(tuning.direct_buckets);
  const int small = bits_of(rows / tuning.bucket_rows);
  if (small <= direct) return small;
  const int large = bits_of(rows / (tuning.bucket_rows * sort_config::kBucketGrowth));
  return std::clamp(large, direct, bits_of(sort_config::kMaxBuckets));
}

// Words of rows spread over the table, one at a pseudo-random place of each stretch: a fixed
// stride would meet the period of periodic data.
std::vector<Code> sample_words(const KeyOrder& order, std::int64_t size) {
  std::vector<Code> sample(static_cast<std::size_t>(size));
  const std::int64_t stretch = order.rows() / size;
  std::uint64_t random = 0x9E3779B97F4A7C15ULL;
  for (std::int64_t i = 0; i < size; ++i) {
    random = random * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto within =
        static_cast<std::int64_t>((random >> 33) % static_cast<std::uint64_t>(stretch));
    const std::int64_t row = i * stretch + within;
    order.encode({row, row + 1}, &sample[static_cast<std::size_t>(i)]);
  }
  return sample;
}

// Quantiles of a sorted sample, each once; one that occurs twice is frequent, and the value after
// it ends its bucket.
std::vector<Code> quantiles(std::span<const Code> sample, int count) {
  std::vector<Code> chosen;
  for (int i = 1; i < count; ++i) {
    const Code next =
        sample[sample.size() * static_cast<std::size_t>(i) / static_cast<std::size_t>(count)];
    if (chosen.empty() || next > chosen.back()) {
      chosen.push_back(next);
    } else if (next == chosen.back() && next + 1 != 0) {
      chosen.push_back(next + 1);
    }
  }
  return chosen;
}

// Writes sorted values as a breadth-first tree; in-order traversal visits them ascending.
std::size_t plant(std::span<const Code> sorted, std::span<Code> tree, std::size_t node,
                  std::size_t next) {
  if (node >= tree.size()) return next;
  next = plant(sorted, tree, 2 * node, next);
  tree[node] = next < sorted.size() ? sorted[next] : ~Code{0};
  return plant(sorted, tree, 2 * node + 1, next + 1);
}

}  // namespace

Classifier::Classifier(const KeyOrder& order, const SortTuning& tuning) {
  const int count_bits = std::min(wanted_bits(order.rows(), tuning), order.bits());
  use_shift(order.bits(), count_bits);
  if (count_bits == 0) return;
  std::vector<Code> sample =
      sample_words(order, std::min(order.rows(), sort_config::kSamplesPerBucket << count_bits));
  if (!balanced(sample)) use_splitters(sample, 1 << count_bits);
}

void Classifier::use_shift(int bits, int count_bits) {
  count_ = 1 << count_bits;
  shift_ = bits - count_bits;
}

bool Classifier::balanced(std::span<const Code> sample) const {
  std::vector<std::int64_t> seen(static_cast<std::size_t>(count_));
  for (const Code word : sample) ++seen[word >> shift_];
  return *std::max_element(seen.begin(), seen.end()) <=
         sort_config::kSkew * sort_config::kSamplesPerBucket;
}

void Classifier::use_splitters(std::span<Code> sample, int count) {
  std::sort(sample.begin(), sample.end());
  const std::vector<Code> sorted = quantiles(sample, count);
  levels_ = static_cast<int>(std::bit_width(sorted.size()));
  splitters_.assign(std::size_t{1} << levels_, ~Code{0});
  plant(sorted, splitters_, 1, 0);
  count_ = static_cast<int>(sorted.size()) + 1;
}

void Classifier::classify(std::span<const Code> words, std::uint16_t* out) const {
  if (by_shift()) {
    if (count_ == 1) return static_cast<void>(std::fill_n(out, words.size(), 0));
    const int shift = shift_;
    for (const Code word : words) *out++ = static_cast<std::uint16_t>(word >> shift);
    return;
  }
  constexpr std::size_t kLanes = 8;  // searches side by side hide each other's latency
  const Code* tree = splitters_.data();
  const auto leaves = std::uint32_t{1} << levels_;
  const auto last = static_cast<std::uint32_t>(count_ - 1);
  for (std::size_t begin = 0; begin < words.size(); begin += kLanes) {
    std::array<Code, kLanes> lane{};
    std::array<std::uint32_t, kLanes> node;
    const std::size_t lanes = std::min(kLanes, words.size() - begin);
    std::copy_n(words.begin() + static_cast<std::ptrdiff_t>(begin), lanes, lane.begin());
    node.fill(1);
    for (int level = 0; level < levels_; ++level) {
      for (std::size_t i = 0; i < kLanes; ++i) {
        node[i] = 2 * node[i] + (tree[node[i]] <= lane[i] ? 1 : 0);
      }
    }
    for (std::size_t i = 0; i < lanes; ++i) {
      out[begin + i] = static_cast<std::uint16_t>(std::min(node[i] - leaves, last));
    }
  }
}

std::int64_t Buckets::largest() const {
  std::int64_t largest = 0;
  for (int index = 0; index < count(); ++index) largest = std::max(largest, bucket(index).size());
  return largest;
}

Buckets split_rows(const KeyOrder& order, int threads, const SortTuning& tuning) {
  Buckets buckets{.classifier = Classifier(order, tuning),
                  .threads = threads,
                  .tuning = tuning,
                  .rows = order.rows(),
                  .of_row = OwnedArray<std::uint16_t>(order.rows()),
                  .starts = {},
                  .cursors = {}};
  const auto count = static_cast<std::size_t>(buckets.count());
  buckets.starts.resize(count + 1);
  buckets.cursors.resize(count * static_cast<std::size_t>(threads));
  parallel(threads, [&](int thread) {
    std::array<Code, kBlock> words;
    std::vector<std::int64_t> seen(count);
    const Range rows = buckets.part(thread);
    for (std::int64_t begin = rows.begin; begin < rows.end; begin += kBlock) {
      const Range block{begin, std::min(begin + kBlock, rows.end)};
      std::uint16_t* of_row = buckets.of_row.data() + begin;
      order.encode(block, words.data());
      buckets.classifier.classify({words.data(), static_cast<std::size_t>(block.size())}, of_row);
      for (std::int64_t i = 0; i < block.size(); ++i) ++seen[of_row[i]];
    }
    std::copy(seen.begin(), seen.end(),
              buckets.cursors.begin() + static_cast<std::ptrdiff_t>(count) * thread);
  });
  std::int64_t next = 0;
  for (std::size_t bucket = 0; bucket < count; ++bucket) {
    buckets.starts[bucket] = next;
    for (std::size_t at = bucket; at < buckets.cursors.size(); at += count) {
      next += std::exchange(buckets.cursors[at], next);
    }
  }
  buckets.starts[count] = next;
  return buckets;
}

}  // namespace elevon::kernel

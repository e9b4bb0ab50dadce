// Which bucket a row belongs to: ranges of words in ascending order, each of about as many rows as
// a core sorts in its cache.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/keys/normalize.hpp"
#include "kernel/sort/config.hpp"

namespace elevon::kernel {

// Maps words to buckets: by their highest bits where that is balanced, else by splitters that a
// sample chose (a value that is frequent gets a bucket of its own).
class Classifier {
 public:
  Classifier(const KeyOrder& order, const SortTuning& tuning);

  [[nodiscard]] int count() const { return count_; }
  [[nodiscard]] bool by_shift() const { return splitters_.empty(); }
  [[nodiscard]] int shift() const { return shift_; }
  void classify(std::span<const Code> words, std::uint16_t* out) const;

 private:
  void use_shift(int bits, int count_bits);
  [[nodiscard]] bool balanced(std::span<const Code> sample) const;
  void use_splitters(std::span<Code> sample, int count);

  int count_ = 1;
  int shift_ = 0;
  int levels_ = 0;
  std::vector<Code> splitters_;  // a search tree, breadth first from index 1; empty: by shift
};

struct Buckets {
  Classifier classifier;
  int threads = 1;
  SortTuning tuning;
  std::int64_t rows = 0;
  OwnedArray<std::uint16_t> of_row;
  std::vector<std::int64_t> starts;   // of each bucket, and the number of rows
  std::vector<std::int64_t> cursors;  // of each thread: where its rows of each bucket begin

  [[nodiscard]] int count() const { return classifier.count(); }
  [[nodiscard]] Range bucket(int index) const {
    const auto at = static_cast<std::size_t>(index);
    return {starts[at], starts[at + 1]};
  }
  [[nodiscard]] std::int64_t largest() const;
  // The rows that a thread scatters, and its cursors.
  [[nodiscard]] Range part(int thread) const { return part_of(rows, threads, thread); }
  [[nodiscard]] std::span<const std::int64_t> cursors_of(int thread) const {
    const auto width = static_cast<std::size_t>(count());
    return std::span(cursors).subspan(static_cast<std::size_t>(thread) * width, width);
  }
};

// Classifies all rows and counts them.
[[nodiscard]] Buckets split_rows(const KeyOrder& order, int threads, const SortTuning& tuning = {});

}  // namespace elevon::kernel

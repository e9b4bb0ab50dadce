// Which partition each row goes to, and where in it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/base/parallel.hpp"

namespace elevon::kernel {

// Writes the partition of each row of a range; called by several workers at once.
using RowNumberer = std::function<void(Range rows, std::uint16_t* numbers)>;

// A few thousand rows of one worker, worked through column by column while they lie in cache.
struct Block {
  int worker;
  Range rows;  // of the table; within one chunk of every column
  int partitions;
  const std::uint16_t* numbers;   // each row's partition
  const std::uint32_t* counts;    // each partition's rows
  const std::uint16_t* order;     // rows from rows.begin on, partition after partition
  const std::int64_t* positions;  // where each partition's first row of the block goes
  bool roomy;  // the worker owns a cache line of 8-byte rows behind whatever the block writes

  // Calls f(partition, rows in order, how many, position) for each partition that has rows.
  template <typename F>
  void each(F&& f) const {
    const std::uint16_t* rest = order;
    for (int partition = 0; partition < partitions; ++partition) {
      const std::uint32_t count = counts[partition];
      if (count > 0) f(partition, rest, std::int64_t{count}, positions[partition]);
      rest += count;
    }
  }
};

// The partition of every row of a range, block by block, and where each worker's rows of each
// partition begin: so that workers move rows without waiting for each other.
class RowMap {
 public:
  // `cuts` are rows that no block may cross (ends of chunks), ascending.
  RowMap(const RowNumberer& numberer, Range rows, const std::vector<std::int64_t>& cuts,
         int partitions, int workers);

  [[nodiscard]] int partitions() const { return partitions_; }
  [[nodiscard]] int workers() const { return workers_; }
  // All rows of a partition.
  [[nodiscard]] std::int64_t size(int partition) const { return start(workers_, partition); }
  // Where the worker's first row of the partition goes.
  [[nodiscard]] std::int64_t start(int worker, int partition) const {
    return starts_[index(worker, partition)];
  }
  // A number for each worker and partition.
  [[nodiscard]] std::size_t index(int worker, int partition) const {
    return static_cast<std::size_t>(worker) * static_cast<std::size_t>(partitions_) +
           static_cast<std::size_t>(partition);
  }

  // Calls f(block) for the worker's blocks in order; `order` is filled in if it is asked for.
  template <typename F>
  void each_block(int worker, bool ordered, F&& f) const {
    BlockCursor cursor(*this, worker, ordered);
    while (cursor.next()) f(cursor.block());
  }

 private:
  // Walks over the blocks of one worker.
  class BlockCursor {
   public:
    BlockCursor(const RowMap& map, int worker, bool ordered);
    bool next();
    [[nodiscard]] const Block& block() const { return block_; }

   private:
    void sort_rows();
    [[nodiscard]] bool is_roomy() const;

    const RowMap& map_;
    std::size_t at_;
    std::size_t end_;
    Block block_;
    std::vector<std::int64_t> positions_;
    std::vector<std::uint16_t> order_;  // empty: not asked for
    std::vector<std::uint32_t> cursors_;
  };

  void cut_blocks(const std::vector<std::int64_t>& cuts);
  void number_rows(const RowNumberer& numberer, int worker);
  void sum_starts();

  Range rows_;
  int partitions_;
  int workers_;
  std::vector<Range> blocks_;
  std::vector<std::size_t> first_block_;  // of each worker, and the end
  OwnedArray<std::uint16_t> numbers_;     // of every row
  OwnedArray<std::uint32_t> counts_;      // by block, then partition
  std::vector<std::int64_t> starts_;      // by worker, then partition; totals at the end
};

}  // namespace elevon::kernel

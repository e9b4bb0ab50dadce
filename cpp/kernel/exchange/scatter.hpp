// Moves the columns of a table into the frames of its partitions.
//
// One scatterer per column goes through these steps, in this order: measure (by all workers, where
// sizes depend on the values), plan (each partition's frame), place (frames have memory), scatter
// (by all workers, block by block), finish (null counts are known).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "arrow/view.hpp"
#include "kernel/exchange/message.hpp"
#include "kernel/exchange/row_map.hpp"

namespace elevon::kernel {

class Scatterer {
 public:
  virtual ~Scatterer() = default;
  // Whether `scatter` reads the block's order.
  [[nodiscard]] virtual bool needs_order() const { return true; }
  [[nodiscard]] virtual bool needs_measure() const { return false; }
  virtual void measure(const Block& /*block*/) {}
  virtual void plan(FrameLayout& layout, int partition) = 0;
  virtual void place(const FrameLayout& layout, std::byte* frame, int partition) = 0;
  virtual void scatter(const Block& block) = 0;
  virtual void finish(FrameLayout& /*layout*/, int /*partition*/) {}
};

using ScattererPtr = std::unique_ptr<Scatterer>;

// A column's chunk that holds a block's rows, and the block's first row in it.
struct BlockChunk {
  const arrow::Array& array;
  std::int64_t row;
};
[[nodiscard]] BlockChunk chunk_of(const arrow::Column& column, const Block& block);

// Sets bits of several partitions' bitmaps; neighbouring workers may share a word.
class BitScatter {
 public:
  explicit BitScatter(int partitions) : words_(static_cast<std::size_t>(partitions)) {}
  // A zeroed bitmap of `rows` bits.
  void place(std::byte* words, std::int64_t rows, int partition);
  // The bit of every row of the block: is_set(row in the block).
  template <typename IsSet>
  void scatter(const Block& block, IsSet&& is_set) const {
    block.each(
        [&](int partition, const std::uint16_t* rows, std::int64_t count, std::int64_t position) {
          std::uint64_t word = 0;
          for (std::int64_t at = 0; at < count; ++at, ++position) {
            word |= std::uint64_t{is_set(rows[at])} << (position & 63);
            if ((position & 63) == 63) word = flush(partition, position, word);
          }
          if ((position & 63) != 0) flush(partition, position, word);
        });
  }
  // How many bits are set among the first `rows`.
  [[nodiscard]] std::int64_t count(int partition, std::int64_t rows) const;

 private:
  std::uint64_t flush(int partition, std::int64_t position, std::uint64_t word) const;

  std::vector<std::uint64_t*> words_;
};

// The null bitmap of a column, where it has nulls at all.
class ValidityScatter {
 public:
  ValidityScatter(const arrow::Column& column, int partitions);
  [[nodiscard]] bool has_nulls() const { return has_nulls_; }
  // Adds the column's node and its bitmap.
  void plan(FrameLayout& layout, int partition);
  void place(const FrameLayout& layout, std::byte* frame, int partition);
  void scatter(const Block& block, const BlockChunk& chunk) const;
  void finish(FrameLayout& layout, int partition) const;
  // The node that plan added.
  [[nodiscard]] std::size_t node(int partition) const {
    return nodes_[static_cast<std::size_t>(partition)];
  }

 private:
  bool has_nulls_;
  BitScatter bits_;
  std::vector<std::size_t> nodes_;
  std::vector<std::size_t> buffers_;
  std::vector<std::int64_t> rows_;
};

// Fixed-width values and bits.
[[nodiscard]] ScattererPtr scatter_values(const arrow::Column& column, const RowMap& map);
// Strings with offsets, and views.
[[nodiscard]] ScattererPtr scatter_strings(const arrow::Column& column, const RowMap& map);
// Whatever is left (nested types, dictionaries, nulls): gathered by partition, then packed.
// `rows` are the table's row numbers, partition after partition; `threads` help to gather.
[[nodiscard]] ScattererPtr scatter_gathered(const arrow::Column& column, const RowMap& map,
                                            const std::int64_t* rows, int threads);

}  // namespace elevon::kernel

// Writes a bucket's order down once its words are sorted.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/keys/normalize.hpp"
#include "kernel/sort/local.hpp"
#include "kernel/sort/ties.hpp"

namespace elevon::kernel {

// A key column that is computed back from the sorted words instead of being moved.
struct DecodedColumn {
  KeyOrder::Field field;
  int width;
  std::byte* out;
};

// The sorted order of all rows: bucket by bucket, where in its bucket each row was.
struct RowOrder {
  // In one of the two, as buckets are small or not. Unwritten where in_order.
  OwnedArray<std::uint16_t> narrow;
  OwnedArray<std::uint32_t> wide;
  std::vector<std::uint8_t> in_order;  // of each bucket: its rows stay as they are

  RowOrder(std::int64_t rows, int buckets, std::int64_t largest_bucket);
  // Calls f(const uint16_t*) or f(const uint32_t*) with the indices from `position` on.
  template <typename F>
  decltype(auto) visit(std::int64_t position, F&& f) const {
    return wide.size() > 0 ? f(wide.data() + position) : f(narrow.data() + position);
  }
};

// Calls f(uint32_t{}) or f(int64_t{}): the narrowest type for row numbers of so many rows.
template <typename F>
decltype(auto) with_row_type(std::int64_t rows, F&& f) {
  if (rows <= std::numeric_limits<std::uint32_t>::max()) return f(std::uint32_t{});
  return f(std::int64_t{});
}

// One per thread.
class OrderWriter {
 public:
  OrderWriter(const KeyOrder& order, std::span<const DecodedColumn> decoded, RowOrder& result);

  // Settles the ties of the bucket that `sorter` has sorted, and writes its order and its part of
  // the decoded columns. `numbers`: the table's rows that lie in the bucket, in their old order;
  // not read if the key order is exact.
  void write(int bucket, Range rows, const LocalSorter& sorter, const std::int64_t* numbers);
  // The same for a bucket whose rows are in order already, given their words.
  void write_in_order(int bucket, Range rows, std::span<const Code> words);

 private:
  static constexpr std::int64_t kBlock = 1024;  // rows handled at a time: their words stay in L1

  void write_blocks(Range rows, const LocalSorter& sorter);
  void write_settled(Range rows, const LocalSorter& sorter, const std::int64_t* numbers);
  void write_index(std::int64_t position, std::span<const std::uint32_t> index);
  void decode(std::int64_t position, std::span<const Code> words);
  void decode_block(const DecodedColumn& column, std::int64_t position,
                    std::span<const Code> words);

  const KeyOrder& order_;
  std::span<const DecodedColumn> decoded_;
  RowOrder& result_;
  TieSorter ties_;
  bool stream_;
  std::array<std::uint32_t, kBlock> index_;
  std::array<Code, kBlock> words_;
  std::array<Code, kBlock> codes_;
  std::array<Code, kBlock> values_;  // of at most 8 bytes
  std::vector<std::uint32_t> all_index_;
  std::vector<Code> all_words_;
  std::vector<std::int64_t> all_numbers_;
};

}  // namespace elevon::kernel

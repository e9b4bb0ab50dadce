// The columns of the result.
//
// Values go the way of the words: to their bucket, then to their place in it, two passes of
// sequential memory traffic instead of one random read per value. Types that do not lie in one
// buffer row by row are gathered by row numbers, which have come the same way.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/keys/normalize.hpp"
#include "kernel/sort/writer.hpp"

namespace elevon::kernel {

// Makes room for the columns that the order can compute back, then builds the others.
class SortedColumns {
 public:
  SortedColumns(const arrow::Table& table, const KeyOrder& order);

  [[nodiscard]] std::span<const DecodedColumn> decoded() const { return decoded_; }

  // The sorted table. To be called once, after decoded() has been filled.
  // Route: Buckets or Pieces, the way that the rows have gone.
  template <typename Route>
  [[nodiscard]] arrow::Table build(const Route& route, const RowOrder& order);

 private:
  const arrow::Table& table_;
  std::vector<DecodedColumn> decoded_;
  std::vector<Buffer> values_;  // of each column; empty unless decoded
};

// Which row of the table each sorted row was.
template <typename Row, typename Route>
[[nodiscard]] OwnedArray<Row> move_row_numbers(const Route& route, const RowOrder& order);

}  // namespace elevon::kernel

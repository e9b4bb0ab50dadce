#include "kernel/sort/sort.hpp"

#include <array>
#include <vector>

#include "kernel/sort/buckets.hpp"
#include "kernel/sort/columns.hpp"
#include "kernel/sort/order.hpp"
#include "kernel/sort/presorted.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {
namespace {

arrow::Table reverse(const arrow::Table& table, int threads) {
  return with_row_type(table.num_rows(), [&]<typename Row>(Row) {
    OwnedArray<Row> rows(table.num_rows());
    Row last = static_cast<Row>(table.num_rows());
    for (Row& row : rows) row = --last;
    return gather(table, Rows(rows.span()), threads);
  });
}

}  // namespace

std::vector<SortKey> find_keys(const arrow::Table& table, std::span<const KeySpec> keys) {
  std::vector<SortKey> found;
  for (const KeySpec& key : keys) {
    found.push_back({&table.column(key.column), key.ascending, key.nulls_first});
  }
  return found;
}

arrow::Table sort(const arrow::Table& table, std::span<const KeySpec> keys, int threads,
                  const SortTuning& tuning) {
  const int useful = useful_threads(table.num_rows(), threads);
  const KeyOrder order(find_keys(table, keys), useful, sorted_rows);
  switch (find_presorted(order, useful)) {
    case Presorted::Ascending: return table;
    case Presorted::Descending: return reverse(table, useful);
    case Presorted::No: break;
  }
  const Buckets buckets = split_rows(order, useful, tuning);
  SortedColumns columns(table, order);
  const RowOrder rows = sort_buckets(order, buckets, columns.decoded());
  return columns.build(buckets, rows);
}

OwnedArray<std::int64_t> sorted_rows(const KeyOrder& order, int threads) {
  const int useful = useful_threads(order.rows(), threads);
  const Buckets buckets = split_rows(order, useful);
  return move_row_numbers<std::int64_t>(buckets, sort_buckets(order, buckets, {}));
}

}  // namespace elevon::kernel

#include "kernel/sort/merge.hpp"

#include <stdexcept>
#include <utility>
#include <vector>

#include "kernel/sort/columns.hpp"
#include "kernel/sort/merge_order.hpp"
#include "kernel/sort/merge_pieces.hpp"

namespace elevon::kernel {
namespace {

arrow::Table concat_tables(std::span<const arrow::Table> tables) {
  if (tables.empty()) throw std::invalid_argument("merge needs at least one table");
  const std::size_t width = tables[0].columns().size();
  std::int64_t rows = 0;
  for (const arrow::Table& table : tables) {
    if (table.columns().size() != width) {
      throw std::invalid_argument("merge needs tables of one schema: they differ in columns");
    }
    rows += table.num_rows();
  }
  std::vector<arrow::Column> columns;
  for (std::size_t i = 0; i < width; ++i) {
    std::vector<arrow::Column> parts;
    for (const arrow::Table& table : tables) parts.push_back(table.columns()[i]);
    columns.push_back(arrow::concat(parts));
  }
  return {std::move(columns), rows};
}

// Where each run of rows begins, and the end. Empty tables are no runs, and tables that continue
// their predecessor are one run with it.
std::vector<std::int64_t> find_runs(std::span<const arrow::Table> tables, const KeyOrder& order) {
  std::vector<std::int64_t> bounds{0};
  std::int64_t begin = 0;
  for (const arrow::Table& table : tables) {
    if (table.num_rows() == 0) continue;
    if (begin > 0 && order.compare(begin - 1, begin) > 0) bounds.push_back(begin);
    begin += table.num_rows();
  }
  bounds.push_back(begin);
  return bounds;
}

}  // namespace

arrow::Table merge(std::span<const arrow::Table> tables, std::span<const KeySpec> keys, int threads,
                   const SortTuning& tuning) {
  const arrow::Table table = concat_tables(tables);
  const int useful = useful_threads(table.num_rows(), threads);
  const KeyOrder order(find_keys(table, keys), useful, sorted_rows);
  const std::vector<std::int64_t> bounds = find_runs(tables, order);
  if (bounds.size() <= 2) return table;
  const Pieces pieces = cut_runs(order, bounds, useful, tuning);
  SortedColumns columns(table, order);
  const RowOrder rows = merge_pieces(order, pieces, columns.decoded());
  return columns.build(pieces, rows);
}

}  // namespace elevon::kernel

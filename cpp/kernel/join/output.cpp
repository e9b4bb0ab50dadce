// Columns by side, coalesced keys, rows of existence joins.

#include "kernel/join/output.hpp"

#include <array>
#include <utility>
#include <vector>

#include "kernel/base/parallel.hpp"
#include "kernel/join/config.hpp"
#include "kernel/join/scatter.hpp"
#include "kernel/join/stream.hpp"

namespace elevon::kernel {

using arrow::Column;
using arrow::Field;

namespace {

Field output_field(const Column& column, std::string name, bool may_miss) {
  Field field = column.field();
  field.name = std::move(name);
  field.nullable = field.nullable || may_miss;
  return field;
}

// Calls f(row, position) for the rows of one of `parts` parts.
template <typename Index, typename F>
void for_rows(const Placement<Index>& placement, int parts, int part, F&& f) {
  const Range rows = part_of(placement.rows(), parts, part);
  if (!placement.scattered()) {
    for (std::int64_t row = rows.begin; row < rows.end; ++row) f(row, row);
    return;
  }
  std::vector<Index> cursors = placement.cursors(part);
  const std::uint16_t* partition_of = placement.partition_of();
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    f(row, static_cast<std::int64_t>(cursors[partition_of[row]]++));
  }
}

// Two rows of dictionaries and plain values compare, but only plain values lie in one column.
std::array<Column, 2> of_one_type(const Column& left, const Column& right, int threads) {
  if (same_type(left.type(), right.type())) return {left, right};
  return {decode_dictionary(left, threads), decode_dictionary(right, threads)};
}

}  // namespace

template <typename Index>
const OwnedArray<Index>& SideColumns<Index>::rows() {
  if (rows_.size() > 0 || matches_.rows == 0) return rows_;
  if (!side_.placement->scattered()) return positions();
  const OwnedArray<Index> numbers = row_numbers(*side_.placement);
  rows_ = OwnedArray<Index>(matches_.rows);
  write_rows(matches_, threads_, rows_.data(), [&](const Segment<Index>& segment) {
    return [positions = segment.*side_.positions, numbers = numbers.data()](std::int64_t j) {
      const Index position = positions[j];
      return position == kNoPosition<Index> ? position : numbers[position];
    };
  });
  return rows_;
}

template <typename Index>
const OwnedArray<Index>& SideColumns<Index>::positions() {
  if (positions_.size() > 0 || matches_.rows == 0) return positions_;
  positions_ = OwnedArray<Index>(matches_.rows);
  write_rows(matches_, threads_, positions_.data(), [&](const Segment<Index>& segment) {
    return [positions = segment.*side_.positions](std::int64_t j) { return positions[j]; };
  });
  return positions_;
}

template <typename Index>
void SideColumns<Index>::know(const Column& column, Column scattered) {
  const bool useful = side_.placement->scattered() && keeps_type(column) &&
                      same_type(column.type(), scattered.type());
  if (useful) known_.push_back({&column, std::move(scattered)});
}

template <typename Index>
const Column* SideColumns<Index>::find_known(const Column& column) const {
  for (const Known& known : known_) {
    if (known.column == &column) return &known.scattered;
  }
  return nullptr;
}

// Few results of many rows are fetched from wherever they are.
template <typename Index>
bool SideColumns<Index>::worth_carrying(const Column& column) const {
  return side_.placement->scattered() && keeps_type(column) &&
         matches_.rows >= column.length() / join_config::kCarryFactor;
}

// Rows that were not scattered lie at their positions already.
template <typename Index>
bool SideColumns<Index>::lies_in_place(const Column& column) const {
  const bool one_piece = column.chunks().size() < 2 || matches_.rows >= column.length();
  return !side_.placement->scattered() && has_common_width(column.type()) && one_piece;
}

template <typename Index>
std::vector<arrow::ArrayPtr> SideColumns<Index>::carry(const Column& scattered) {
  if (has_common_width(scattered.type())) {
    return {carry_column(scattered, side_, matches_, threads_)};
  }
  return gather(scattered, Rows(positions().span(), side_.may_miss), threads_).chunks();
}

template <typename Index>
Column SideColumns<Index>::take(const Column& column, std::string name) {
  Field field = output_field(column, std::move(name), side_.may_miss);
  if (const Column* known = find_known(column)) return {std::move(field), carry(*known)};
  if (worth_carrying(column)) {
    return {std::move(field), carry(scatter_column(column, *side_.placement, threads_))};
  }
  if (lies_in_place(column)) return {std::move(field), carry(combine_chunks(column, threads_))};
  return {std::move(field), gather(column, Rows(rows().span(), side_.may_miss), threads_).chunks()};
}

template <typename Index>
void SideColumns<Index>::forget() {
  known_.clear();
  rows_ = {};
  positions_ = {};
}

template <typename Index>
Column coalesce(const Column& left_key, const Column& right_key, SideColumns<Index>& left,
                SideColumns<Index>& right, std::string name, int threads) {
  const auto keys = of_one_type(left_key, right_key, threads);
  const Column both = arrow::concat(keys);
  const OwnedArray<Index>& left_rows = left.rows();
  const OwnedArray<Index>& right_rows = right.rows();
  OwnedArray<std::int64_t> rows(left_rows.size());
  const int parts = useful_threads(rows.size(), threads);
  parallel(parts, [&](int part) {
    const Range range = part_of(rows.size(), parts, part);
    for (std::int64_t i = range.begin; i < range.end; ++i) {
      const bool from_left = left_rows[i] != kNoPosition<Index>;
      rows[i] = from_left ? static_cast<std::int64_t>(left_rows[i])
                          : left_key.length() + static_cast<std::int64_t>(right_rows[i]);
    }
  });
  return {output_field(both, std::move(name), false),
          gather(both, Rows(rows.span()), threads).chunks()};
}

template <typename Index>
OwnedArray<Index> marked_rows(const OwnedArray<std::uint8_t>& marks_by_position,
                              const Placement<Index>& placement, bool wanted, int threads) {
  const int parts =
      placement.scattered() ? placement.parts() : useful_threads(placement.rows(), threads);
  const std::uint8_t mark = wanted ? 1 : 0;
  std::vector<std::int64_t> ends(static_cast<std::size_t>(parts) + 1);
  parallel(parts, [&](int part) {
    std::int64_t count = 0;
    for_rows(placement, parts, part, [&](std::int64_t, std::int64_t position) {
      count += marks_by_position[position] == mark ? 1 : 0;
    });
    ends[static_cast<std::size_t>(part) + 1] = count;
  });
  for (std::size_t i = 1; i < ends.size(); ++i) ends[i] += ends[i - 1];
  OwnedArray<Index> rows(ends.back());
  parallel(parts, [&](int part) {
    Index* next = rows.data() + ends[static_cast<std::size_t>(part)];
    for_rows(placement, parts, part, [&](std::int64_t row, std::int64_t position) {
      if (marks_by_position[position] == mark) *next++ = static_cast<Index>(row);
    });
  });
  return rows;
}

template class SideColumns<std::uint32_t>;
template class SideColumns<std::int64_t>;
template Column coalesce(const Column&, const Column&, SideColumns<std::uint32_t>&,
                         SideColumns<std::uint32_t>&, std::string, int);
template Column coalesce(const Column&, const Column&, SideColumns<std::int64_t>&,
                         SideColumns<std::int64_t>&, std::string, int);
template OwnedArray<std::uint32_t> marked_rows(const OwnedArray<std::uint8_t>&,
                                               const Placement<std::uint32_t>&, bool, int);
template OwnedArray<std::int64_t> marked_rows(const OwnedArray<std::uint8_t>&,
                                              const Placement<std::int64_t>&, bool, int);

}  // namespace elevon::kernel

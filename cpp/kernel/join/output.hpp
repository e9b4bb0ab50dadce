// The columns of the result from the matches.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/base/buffer.hpp"
#include "kernel/join/carry.hpp"
#include "kernel/join/match.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {

// Result columns of one side.
template <typename Index>
class SideColumns {
 public:
  SideColumns(MatchedSide<Index> side, const Matches<Index>& matches, int threads)
      : side_(side), matches_(matches), threads_(threads) {}

  // A column of the side that is scattered already; kept if it is of use.
  void know(const arrow::Column& column, arrow::Column scattered);

  // The column in every result row: carried if that pays, otherwise fetched by row number.
  [[nodiscard]] arrow::Column take(const arrow::Column& column, std::string name);

  // Gives back what was kept for further columns; a further one makes it again.
  void forget();

  // The number of this side's row in every result row; kept.
  [[nodiscard]] const OwnedArray<Index>& rows();

  [[nodiscard]] bool may_miss() const { return side_.may_miss; }

 private:
  struct Known {
    const arrow::Column* column;
    arrow::Column scattered;
  };

  [[nodiscard]] const arrow::Column* find_known(const arrow::Column& column) const;
  [[nodiscard]] bool worth_carrying(const arrow::Column& column) const;
  [[nodiscard]] bool lies_in_place(const arrow::Column& column) const;
  [[nodiscard]] std::vector<arrow::ArrayPtr> carry(const arrow::Column& scattered);
  [[nodiscard]] const OwnedArray<Index>& positions();

  MatchedSide<Index> side_;
  const Matches<Index>& matches_;
  int threads_;
  std::vector<Known> known_;
  OwnedArray<Index> rows_;
  OwnedArray<Index> positions_;
};

// A key column where neither side has a row in every result row: the left value where there is a
// left row, else the right one. Throws std::invalid_argument if the types differ.
template <typename Index>
[[nodiscard]] arrow::Column coalesce(const arrow::Column& left_key, const arrow::Column& right_key,
                                     SideColumns<Index>& left, SideColumns<Index>& right,
                                     std::string name, int threads);

// Rows whose mark is `wanted`, in their own order.
template <typename Index>
[[nodiscard]] OwnedArray<Index> marked_rows(const OwnedArray<std::uint8_t>& marks_by_position,
                                            const Placement<Index>& placement, bool wanted,
                                            int threads);

}  // namespace elevon::kernel

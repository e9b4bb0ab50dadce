// Whether key rows are equal, for keys whose codes are only hashes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "arrow/view.hpp"

namespace elevon::kernel {

// Compares rows of one pair of columns. Two nulls are equal, a null and a value are not.
class ColumnEquality {
 public:
  virtual ~ColumnEquality() = default;
  // equal[i] &= left[left_rows[i]] == right[right_rows[i]]
  virtual void compare(const std::int64_t* left_rows, const std::int64_t* right_rows,
                       std::int64_t count, std::uint8_t* equal) const = 0;
};

class KeyEquality {
 public:
  explicit KeyEquality(std::vector<std::unique_ptr<const ColumnEquality>> columns)
      : columns_(std::move(columns)) {}

  // equal[i] = all columns are equal in left_rows[i] and right_rows[i].
  void compare(const std::int64_t* left_rows, const std::int64_t* right_rows, std::int64_t count,
               std::uint8_t* equal) const;

 private:
  std::vector<std::unique_ptr<const ColumnEquality>> columns_;
};

// For columns of at most one chunk and without dictionaries; pairs of comparable types. The
// columns' arrays are kept.
[[nodiscard]] std::unique_ptr<const KeyEquality> make_key_equality(
    const std::vector<arrow::Column>& left, const std::vector<arrow::Column>& right);

}  // namespace elevon::kernel

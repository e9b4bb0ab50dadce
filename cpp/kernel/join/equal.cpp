// One comparison per physical form of a pair of columns.

#include "kernel/join/equal.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "kernel/join/config.hpp"
#include "kernel/join/pieces.hpp"
#include "kernel/join/readers.hpp"

namespace elevon::kernel {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Column;
using arrow::Kind;
using arrow::Layout;
using arrow::Type;

namespace {

// Values of one width on both sides that are equal when their bytes are.
template <typename T>
struct Fixed {
  explicit Fixed(const Array& array) : values(array.values<T>()) {}
  T operator()(std::int64_t row) const { return values[row]; }
  void prefetch(std::int64_t row) const { __builtin_prefetch(values + row); }
  const T* values;
};

// All other values that have words: floats, bools, integers of unlike widths.
struct Worded {
  explicit Worded(const Array& source) : array(&source), reader(plain_reader(*source.type)) {}
  std::uint64_t operator()(std::int64_t row) const {
    std::uint64_t word = 0;
    reader->read(*array, row, 1, &word);
    return word;
  }
  void prefetch(std::int64_t) const {}
  const Array* array;
  WordReaderPtr reader;
};

// Strings of every layout; each side may have its own.
template <typename Reader>
struct Strings {
  explicit Strings(const Array& array) : reader(array) {}
  std::string_view operator()(std::int64_t row) const { return reader(row); }
  // Reads the offset to learn where the bytes are: the miss on it overlaps with its neighbours'.
  void prefetch(std::int64_t row) const { __builtin_prefetch(reader(row).data()); }
  Reader reader;
};

template <typename LeftValues, typename RightValues>
class ValuesEqual final : public ColumnEquality {
 public:
  ValuesEqual(ArrayPtr left, ArrayPtr right)
      : left_array_(std::move(left)),
        right_array_(std::move(right)),
        left_(*left_array_),
        right_(*right_array_),
        has_nulls_(left_array_->null_count > 0 || right_array_->null_count > 0) {}

  void compare(const std::int64_t* left_rows, const std::int64_t* right_rows, std::int64_t count,
               std::uint8_t* equal) const override {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t ahead = std::min(i + join_config::kComparePrefetch, count - 1);
      left_.prefetch(left_rows[ahead]);
      right_.prefetch(right_rows[ahead]);
      if (equal[i] != 0) equal[i] = row_equal(left_rows[i], right_rows[i]) ? 1 : 0;
    }
  }

 private:
  bool row_equal(std::int64_t left_row, std::int64_t right_row) const {
    if (has_nulls_) {
      const bool left_valid = left_array_->is_valid(left_row);
      const bool right_valid = right_array_->is_valid(right_row);
      if (!left_valid || !right_valid) return left_valid == right_valid;
    }
    return left_(left_row) == right_(right_row);
  }

  ArrayPtr left_array_;
  ArrayPtr right_array_;
  LeftValues left_;
  RightValues right_;
  bool has_nulls_;
};

using Equality = std::unique_ptr<const ColumnEquality>;

template <typename LeftValues, typename RightValues>
Equality values_equal(const ArrayPtr& left, const ArrayPtr& right) {
  return std::make_unique<ValuesEqual<LeftValues, RightValues>>(left, right);
}

template <typename Values>
Equality values_equal(const ArrayPtr& left, const ArrayPtr& right) {
  return values_equal<Values, Values>(left, right);
}

// Calls f with the class that reads the strings of an array.
template <typename F>
Equality visit_strings(const Type& type, F&& f) {
  switch (type.layout) {
    case Layout::Offsets32: return f.template operator()<arrow::OffsetReader<std::int32_t>>();
    case Layout::Offsets64: return f.template operator()<arrow::OffsetReader<std::int64_t>>();
    case Layout::Views: return f.template operator()<arrow::ViewReader>();
    default: return f.template operator()<arrow::FixedReader>();
  }
}

Equality strings_equal(const ArrayPtr& left, const ArrayPtr& right) {
  return visit_strings(*left->type, [&]<typename Left> {
    return visit_strings(*right->type, [&]<typename Right> {
      return values_equal<Strings<Left>, Strings<Right>>(left, right);
    });
  });
}

Equality fixed_equal(const ArrayPtr& left, const ArrayPtr& right) {
  switch (left->type->width) {
    case 1: return values_equal<Fixed<std::uint8_t>>(left, right);
    case 2: return values_equal<Fixed<std::uint16_t>>(left, right);
    case 4: return values_equal<Fixed<std::uint32_t>>(left, right);
    case 8: return values_equal<Fixed<std::uint64_t>>(left, right);
    case 16: return values_equal<Fixed<Bytes16>>(left, right);
    default: return strings_equal(left, right);
  }
}

Equality column_equal(const ArrayPtr& left, const ArrayPtr& right) {
  const Type& type = *left->type;
  if (type.is_binary()) return strings_equal(left, right);
  const bool by_bytes =
      type.layout == Layout::Fixed && type.kind != Kind::Float && type.width == right->type->width;
  return by_bytes ? fixed_equal(left, right) : values_equal<Worded>(left, right);
}

ArrayPtr only_chunk(const Column& column) {
  return column.chunks().empty() ? nullptr : column.chunks().front();
}

}  // namespace

void KeyEquality::compare(const std::int64_t* left_rows, const std::int64_t* right_rows,
                          std::int64_t count, std::uint8_t* equal) const {
  std::fill_n(equal, count, std::uint8_t{1});
  for (const auto& column : columns_) column->compare(left_rows, right_rows, count, equal);
}

std::unique_ptr<const KeyEquality> make_key_equality(const std::vector<Column>& left,
                                                     const std::vector<Column>& right) {
  std::vector<Equality> columns;
  for (std::size_t i = 0; i < left.size(); ++i) {
    const ArrayPtr left_array = only_chunk(left[i]);
    const ArrayPtr right_array = only_chunk(right[i]);
    // Without rows on one side there is nothing to compare.
    if (left_array == nullptr || right_array == nullptr) continue;
    columns.push_back(column_equal(left_array, right_array));
  }
  return std::make_unique<KeyEquality>(std::move(columns));
}

}  // namespace elevon::kernel

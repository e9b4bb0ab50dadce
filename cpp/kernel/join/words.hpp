// One pair of key columns as 64-bit words: equal values have equal words and unlike values unlike
// ones, on both sides.
//
// Words exist for integers of all widths, dates, times, floats (one zero, one NaN), bools, fixed
// bytes of up to 8, strings of up to 7 bytes or that a prefix code tells apart, decimals whose
// values fit 64 bits, and strings behind dictionaries on both sides. What has no words is hashed
// and compared (keys, equal).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "arrow/view.hpp"
#include "kernel/join/pieces.hpp"

namespace elevon::kernel {

// Reads the words of arrays of one column. What a null row reads is unspecified.
class WordReader {
 public:
  virtual ~WordReader() = default;
  // Words of rows [begin, begin + count).
  virtual void read(const arrow::Array& array, std::int64_t begin, std::int64_t count,
                    std::uint64_t* out) const = 0;
  // The words where they lie in memory already, or nullptr.
  [[nodiscard]] virtual const std::uint64_t* in_place(const arrow::Array& array,
                                                      std::int64_t begin) const;
  // Writes 1 for null rows and 0 for others.
  virtual void mark_nulls(const arrow::Array& array, std::int64_t begin, std::int64_t count,
                          std::uint8_t* out) const;
  // True if rows may be null although the column has no null of its own.
  [[nodiscard]] virtual bool hides_nulls() const;
};

// Smallest and largest word, in the order of the column's type; `any` is false without rows.
struct WordBounds {
  std::uint64_t min = 0;
  std::uint64_t max = 0;
  bool any = false;
};

// The words of one key column.
class KeyWords {
 public:
  KeyWords(arrow::Column column, std::unique_ptr<const WordReader> reader, bool is_signed);

  [[nodiscard]] std::int64_t rows() const { return column_.length(); }
  [[nodiscard]] bool has_nulls() const { return has_nulls_; }
  [[nodiscard]] bool is_signed() const { return is_signed_; }

  // The words of `rows`: where they lie, or copied to `scratch`.
  [[nodiscard]] const std::uint64_t* read(Range rows, std::uint64_t* scratch) const;
  void mark_nulls(Range rows, std::uint8_t* out) const;
  // Over all rows that are not null.
  [[nodiscard]] WordBounds bounds(int threads) const;

 private:
  [[nodiscard]] WordBounds bounds_of(Range rows) const;

  arrow::Column column_;
  std::unique_ptr<const WordReader> reader_;
  bool is_signed_;
  bool has_nulls_;
};

struct WordPair {
  KeyWords left;
  KeyWords right;
};

// The words of a pair of columns of comparable types, or nothing if these values have none.
[[nodiscard]] std::optional<WordPair> make_words(const arrow::Column& left,
                                                 const arrow::Column& right, int threads);

}  // namespace elevon::kernel

// One key column as unsigned numbers whose order is the order of its values.
//
// Nulls and the direction are in the code already, so everything behind this line only ever
// compares unsigned numbers. A code spends the bits that vary and no more: a column of values in
// [1000, 1255] has eight.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arrow/view.hpp"
#include "kernel/base/buffer.hpp"
#include "kernel/base/parallel.hpp"

namespace elevon::kernel {

using Code = std::uint64_t;

struct SortKey {
  const arrow::Column* column = nullptr;
  bool ascending = true;
  bool nulls_first = false;
};

class KeyCoder {
 public:
  // What next_depth says of rows with equal keys.
  static constexpr std::int64_t kEqual = -1;

  KeyCoder() = default;
  KeyCoder(const KeyCoder&) = delete;
  KeyCoder& operator=(const KeyCoder&) = delete;
  virtual ~KeyCoder() = default;

  // Codes are below 2^bits.
  [[nodiscard]] int bits() const { return bits_; }
  // Equal codes mean equal keys; otherwise next_depth knows where ties may still differ.
  [[nodiscard]] bool exact() const { return exact_; }

  // The codes of consecutive rows.
  virtual void encode(Range rows, Code* out) const = 0;
  // The codes of any rows at a depth: 0 gives those of encode(), others come from next_depth().
  virtual void encode_rows(std::span<const std::int64_t> rows, std::int64_t depth,
                           Code* out) const = 0;
  // For rows that are equal up to and at `depth`: the next depth to look at, or kEqual.
  [[nodiscard]] virtual std::int64_t next_depth(std::span<const std::int64_t> /*rows*/,
                                                std::int64_t /*depth*/) const {
    return kEqual;
  }

  // True if the column's values can be computed back from its codes: it need not be moved.
  [[nodiscard]] virtual bool decodable() const { return false; }
  // Writes the values of `count` codes; out points to the first one's place in the column.
  virtual void decode(const Code* /*codes*/, std::int64_t /*count*/, std::byte* /*out*/) const {}

 protected:
  int bits_ = 0;
  bool exact_ = true;
};

using KeyCoders = std::vector<std::unique_ptr<KeyCoder>>;

class KeyOrder;

// The rows of an order, first to last. Codes of a dictionary are the ranks of its values, so who
// makes them has to sort; who sorts needs codes. The sort passes itself in (sort/sort.hpp).
using RowSorter = OwnedArray<std::int64_t> (*)(const KeyOrder& order, int threads);

// Appends the coders of one key, most significant first (a flag for nulls, words of a decimal).
// Throws std::invalid_argument for a type that has no order (nested types, intervals).
void append_coders(const SortKey& key, int threads, RowSorter sorter, KeyCoders& coders);

// The parts of append_coders, by family of types.
void append_fixed_coders(const SortKey& key, int threads, KeyCoders& coders);
[[nodiscard]] std::unique_ptr<KeyCoder> make_null_coder(const SortKey& key);
[[nodiscard]] std::unique_ptr<KeyCoder> make_bytes_coder(const SortKey& key, int threads);
[[nodiscard]] std::unique_ptr<KeyCoder> make_dictionary_coder(const SortKey& key, int threads,
                                                              RowSorter sorter);

// Calls f(array, rows within it, position of the first one counted from rows.begin) for each
// chunk of the column that the rows touch.
template <typename F>
void for_chunks(const arrow::Column& column, Range rows, F&& f) {
  const auto& starts = column.starts();
  const auto first = std::upper_bound(starts.begin(), starts.end(), rows.begin) - 1;
  auto chunk = static_cast<std::size_t>(first - starts.begin());
  for (std::int64_t row = rows.begin; row < rows.end; ++chunk) {
    const Range within{row - starts[chunk], std::min(rows.end, starts[chunk + 1]) - starts[chunk]};
    f(*column.chunks()[chunk], within, row - rows.begin);
    row += within.size();
  }
}

// Finds chunks of single rows; neighbouring rows are mostly in the chunk of the last one.
class ChunkFinder {
 public:
  struct Place {
    std::size_t chunk;
    std::int64_t row;
  };
  explicit ChunkFinder(const arrow::Column& column) : starts_(column.starts()) {}

  [[nodiscard]] Place find(std::int64_t row) {
    if (row < starts_[last_] || row >= starts_[last_ + 1]) {
      last_ = static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), row) -
                                       starts_.begin() - 1);
    }
    return {last_, row - starts_[last_]};
  }

 private:
  const std::vector<std::int64_t>& starts_;
  std::size_t last_ = 0;
};

// A value's bit of a bitmap.
[[nodiscard]] inline bool bit_at(const std::uint8_t* bits, std::int64_t at) {
  return ((bits[at >> 3] >> (at & 7)) & 1U) != 0;
}

// Sets the codes of null rows to zero: what lies under a null must not tell nulls apart.
inline void clear_nulls(const arrow::Array& array, Range rows, Code* out) {
  if (array.null_count == 0) return;
  for (std::int64_t row = rows.begin; row < rows.end; ++row, ++out) {
    *out = array.is_valid(row) ? *out : 0;
  }
}

}  // namespace elevon::kernel

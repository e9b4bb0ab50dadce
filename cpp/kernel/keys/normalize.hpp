// The order of key rows as one word per row: the codes of the keys side by side.
//
// Words decide as far as 64 bits reach. What they leave open (a second wide key, the rest of
// a long string) is decided key by key and depth by depth, for tied rows only.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernel/keys/normalize_key.hpp"

namespace elevon::kernel {

class KeyOrder {
 public:
  // Scans the keys for their ranges, and has the dictionaries of keys sorted. All columns have one
  // length and outlive the order. Throws std::invalid_argument for a key type that has no order.
  KeyOrder(std::span<const SortKey> keys, int threads, RowSorter sorter);

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  // Words are below 2^bits; zero bits: every row is equal.
  [[nodiscard]] int bits() const { return bits_; }
  // Equal words mean equal rows.
  [[nodiscard]] bool exact() const { return open_.key == coders_.size(); }

  // The words of consecutive rows.
  void encode(Range rows, Code* out) const;

  // A place in the keys from which rows are compared on.
  struct Step {
    std::size_t key = 0;
    std::int64_t depth = 0;
  };
  // Where to go on with rows whose words are equal; requires !exact().
  [[nodiscard]] Step after_words(std::span<const std::int64_t> rows) const;
  // Codes of the rows at a step; steps come from after_words and next.
  void encode_step(std::span<const std::int64_t> rows, Step step, Code* out) const {
    coders_[step.key]->encode_rows(rows, step.depth, out);
  }
  // The step after `step` for rows that are equal there; ended() if they are equal for good.
  [[nodiscard]] Step next(std::span<const std::int64_t> rows, Step step) const;
  [[nodiscard]] bool ended(Step step) const { return step.key == coders_.size(); }

  // Below, equal to or above 0, as row `left` sorts before, with or after row `right`.
  [[nodiscard]] int compare(std::int64_t left, std::int64_t right) const;
  // The same for rows whose words are equal.
  [[nodiscard]] int compare_open(std::int64_t left, std::int64_t right) const;

  // The coder that computes a column's values back from words, if there is one.
  struct Field {
    const KeyCoder* coder = nullptr;
    int shift = 0;
    Code mask = 0;
    bool whole = false;  // words are nothing but this code
    [[nodiscard]] Code of(Code word) const { return (word >> shift) & mask; }
  };
  [[nodiscard]] Field field_of(const arrow::Column& column) const;

 private:
  struct Placed {
    const KeyCoder* coder;
    int shift;    // of the code's lowest bit in the word
    int dropped;  // low bits of the code that the word has no room for
  };
  void place_coders();

  std::int64_t rows_ = 0;
  std::vector<SortKey> keys_;
  std::vector<std::size_t> first_coder_;  // of each key, and the end
  KeyCoders coders_;
  std::vector<Placed> placed_;  // the coders that words are made of
  int bits_ = 0;
  Step open_;                // the first coder that words do not settle
  bool open_begun_ = false;  // but they hold its whole code of depth 0
};

}  // namespace elevon::kernel

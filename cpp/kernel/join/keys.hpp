// The keys of both sides as one 64-bit code per row.
//
// Keys whose words fit 64 bits together (after each column is reduced to the range that both sides
// share) get exact codes: equal codes mean equal keys. All others get hashes, and whoever matches
// two codes must compare the rows (JoinKeys::exact).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "arrow/view.hpp"
#include "kernel/join/config.hpp"
#include "kernel/join/pieces.hpp"

namespace elevon::kernel {

// Codes of a block of rows. `unmatched`, if there, marks rows that match nothing with 1 (a null in
// the key, a value that the other side cannot have); their codes mean nothing.
struct CodeBlock {
  const std::uint64_t* codes = nullptr;
  const std::uint8_t* unmatched = nullptr;
};

struct CodeScratch {
  alignas(64) std::array<std::uint64_t, join_config::kBlockRows> words;
  alignas(64) std::array<std::uint64_t, join_config::kBlockRows> codes;
  alignas(64) std::array<std::uint8_t, join_config::kBlockRows> unmatched;
  alignas(64) std::array<std::uint8_t, join_config::kBlockRows> nulls;
};

// Codes of one side. Safe to share between threads, each with its own scratch.
class CodeReader {
 public:
  virtual ~CodeReader() = default;
  // At most join_config::kBlockRows rows; valid until the scratch is used again.
  [[nodiscard]] virtual CodeBlock read(Range rows, CodeScratch& scratch) const = 0;
};

struct JoinKeys {
  std::unique_ptr<const CodeReader> left;
  std::unique_ptr<const CodeReader> right;
  // Rows with one code are equal. If not, left_columns and right_columns (without dictionaries)
  // have to be compared; otherwise these are empty.
  bool exact = true;
  std::vector<arrow::Column> left_columns;
  std::vector<arrow::Column> right_columns;
  // Exact codes that can match lie in [base, base + span]; others may occur and match nothing.
  std::uint64_t base = 0;
  std::uint64_t span = ~std::uint64_t{0};
  // The code is the value of the one key column, as an integer.
  bool is_value = false;
};

using KeyColumns = std::span<const arrow::Column* const>;

// Throws std::invalid_argument if the columns of a pair cannot be compared. `code_bits` is
// JoinTuning's.
[[nodiscard]] JoinKeys encode_keys(KeyColumns left, KeyColumns right, bool nulls_equal,
                                   int code_bits, int threads);

}  // namespace elevon::kernel

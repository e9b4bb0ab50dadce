// Chooses exact codes or hashes, and reads either block by block.

#include "kernel/join/keys.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/join/words.hpp"
#include "kernel/keys/hash.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {

using arrow::Column;
using arrow::Kind;
using arrow::Layout;
using arrow::Type;

namespace {

// One column: its words are the codes.
class SingleCodes final : public CodeReader {
 public:
  explicit SingleCodes(KeyWords words) : words_(std::move(words)) {}

  CodeBlock read(Range rows, CodeScratch& scratch) const override {
    CodeBlock block{words_.read(rows, scratch.codes.data()), nullptr};
    if (words_.has_nulls()) {
      words_.mark_nulls(rows, scratch.unmatched.data());
      block.unmatched = scratch.unmatched.data();
    }
    return block;
  }

 private:
  KeyWords words_;
};

// What one column adds to a packed code: (word - base) * stride, for words up to base + span.
struct Digit {
  std::uint64_t base = 0;
  std::uint64_t span = 0;
  std::uint64_t stride = 1;
  bool nulls_match = false;  // a null is the digit span + 1
};

// Several columns as digits of one number.
class PackedCodes final : public CodeReader {
 public:
  void add(KeyWords words, Digit digit) { columns_.emplace_back(std::move(words), digit); }

  CodeBlock read(Range rows, CodeScratch& scratch) const override {
    std::fill_n(scratch.codes.data(), rows.size(), std::uint64_t{0});
    std::fill_n(scratch.unmatched.data(), rows.size(), std::uint8_t{0});
    for (const auto& [words, digit] : columns_) {
      add_digit(words, digit, rows, scratch);
      if (words.has_nulls()) add_nulls(digit, rows, scratch);
    }
    return {scratch.codes.data(), scratch.unmatched.data()};
  }

 private:
  // A null row's word may be anything: it adds nothing, and add_nulls decides.
  static void add_digit(const KeyWords& words, const Digit& digit, Range rows,
                        CodeScratch& scratch) {
    const std::uint64_t* values = words.read(rows, scratch.words.data());
    const bool has_nulls = words.has_nulls();
    if (has_nulls) words.mark_nulls(rows, scratch.nulls.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows.size()); ++i) {
      const std::uint64_t value = values[i] - digit.base;
      const bool counts = !has_nulls || scratch.nulls[i] == 0;
      const bool outside = counts && value > digit.span;
      scratch.unmatched[i] = static_cast<std::uint8_t>(scratch.unmatched[i] | (outside ? 1 : 0));
      scratch.codes[i] += counts && !outside ? value * digit.stride : 0;
    }
  }

  static void add_nulls(const Digit& digit, Range rows, CodeScratch& scratch) {
    const std::uint64_t null_digit = (digit.span + 1) * digit.stride;
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows.size()); ++i) {
      if (scratch.nulls[i] == 0) continue;
      if (digit.nulls_match) {
        scratch.codes[i] += null_digit;
      } else {
        scratch.unmatched[i] = 1;
      }
    }
  }

  std::vector<std::pair<KeyWords, Digit>> columns_;
};

// Hashes, computed once: reading strings twice costs more than keeping 8 bytes a row.
class HashedCodes final : public CodeReader {
 public:
  HashedCodes(OwnedArray<std::uint64_t> codes, OwnedArray<std::uint8_t> unmatched)
      : codes_(std::move(codes)), unmatched_(std::move(unmatched)) {}

  CodeBlock read(Range rows, CodeScratch&) const override {
    const bool marked = unmatched_.size() > 0;
    return {codes_.data() + rows.begin, marked ? unmatched_.data() + rows.begin : nullptr};
  }

 private:
  OwnedArray<std::uint64_t> codes_;
  OwnedArray<std::uint8_t> unmatched_;
};

// No row of one side has a partner on the other.
class UnmatchedCodes final : public CodeReader {
 public:
  CodeBlock read(Range rows, CodeScratch& scratch) const override {
    std::fill_n(scratch.codes.data(), rows.size(), std::uint64_t{0});
    std::fill_n(scratch.unmatched.data(), rows.size(), std::uint8_t{1});
    return {scratch.codes.data(), scratch.unmatched.data()};
  }
};

const Type& value_type(const Column& column) {
  const Type& type = column.type();
  return type.layout == Layout::Dictionary ? *type.dictionary : type;
}

bool is_nested(const Type& type) {
  return !type.children.empty() || type.layout == Layout::Dictionary;
}

bool comparable(const Type& left, const Type& right) {
  if (is_nested(left) || is_nested(right)) return false;
  const bool one_kind = left.kind == right.kind;
  if (left.is_binary() && right.is_binary()) return one_kind;
  if (one_kind && (left.kind == Kind::Int || left.kind == Kind::UInt)) return true;
  return same_type(left, right);
}

void check_comparable(KeyColumns left, KeyColumns right) {
  if (left.empty() || left.size() != right.size()) {
    throw std::invalid_argument("a join needs as many left as right key columns, at least one");
  }
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (comparable(value_type(*left[i]), value_type(*right[i]))) continue;
    throw std::invalid_argument(
        "key columns \"" + left[i]->field().name + "\" (" + arrow::describe(left[i]->type()) +
        ") and \"" + right[i]->field().name + "\" (" + arrow::describe(right[i]->type()) +
        ") cannot be compared: bring both to one type that has equality");
  }
}

struct SharedRange {
  std::uint64_t base = 0;
  std::uint64_t span = 0;
  bool any = false;
};

// The words that both sides may have.
SharedRange shared_range(const WordPair& pair, int threads) {
  const WordBounds left = pair.left.bounds(threads);
  const WordBounds right = pair.right.bounds(threads);
  if (!left.any || !right.any) return {};
  const auto less = [&](std::uint64_t a, std::uint64_t b) {
    if (!pair.left.is_signed()) return a < b;
    return static_cast<std::int64_t>(a) < static_cast<std::int64_t>(b);
  };
  const std::uint64_t low = std::max(left.min, right.min, less);
  const std::uint64_t high = std::min(left.max, right.max, less);
  if (less(high, low)) return {};
  return {low, high - low, true};
}

JoinKeys no_matches() {
  JoinKeys keys;
  keys.left = std::make_unique<UnmatchedCodes>();
  keys.right = std::make_unique<UnmatchedCodes>();
  keys.span = 0;
  return keys;
}

JoinKeys single_codes(WordPair pair, bool is_value, int threads) {
  const SharedRange range = shared_range(pair, threads);
  if (!range.any) return no_matches();
  JoinKeys keys;
  keys.left = std::make_unique<SingleCodes>(std::move(pair.left));
  keys.right = std::make_unique<SingleCodes>(std::move(pair.right));
  keys.base = range.base;
  keys.span = range.span;
  keys.is_value = is_value;
  return keys;
}

// The digit of a column with `size` possible values before it; nothing if it does not fit 64 bits.
std::optional<Digit> make_digit(const SharedRange& range, bool nulls_match, std::uint64_t& size) {
  Digit digit{range.base, range.span, size, nulls_match};
  std::uint64_t values = 0;
  const std::uint64_t extra = nulls_match ? 2 : 1;
  if (__builtin_add_overflow(range.span, extra, &values) ||
      __builtin_mul_overflow(size, values, &size)) {
    return std::nullopt;
  }
  return digit;
}

std::optional<JoinKeys> packed_codes(std::vector<WordPair> pairs, bool nulls_equal, int threads) {
  auto left = std::make_unique<PackedCodes>();
  auto right = std::make_unique<PackedCodes>();
  std::uint64_t size = 1;
  for (WordPair& pair : pairs) {
    const bool nulls_match = nulls_equal && pair.left.has_nulls() && pair.right.has_nulls();
    const SharedRange range = shared_range(pair, threads);
    if (!range.any && !nulls_match) return no_matches();
    const auto digit = make_digit(range, nulls_match, size);
    if (!digit) return std::nullopt;
    left->add(std::move(pair.left), *digit);
    right->add(std::move(pair.right), *digit);
  }
  JoinKeys keys;
  keys.left = std::move(left);
  keys.right = std::move(right);
  keys.span = size - 1;
  return keys;
}

OwnedArray<std::uint8_t> mark_null_keys(KeyColumns keys, int threads) {
  const std::int64_t rows = keys.front()->length();
  OwnedArray<std::uint8_t> marks(rows);
  const int parts = useful_threads(rows, threads);
  parallel(parts, [&](int part) {
    const Range range = part_of(rows, parts, part);
    std::fill_n(marks.data() + range.begin, range.size(), std::uint8_t{0});
    for (const Column* key : keys) {
      for_pieces(*key, range, [&](const arrow::Array& array, auto begin, auto count, auto done) {
        std::uint8_t* out = marks.data() + range.begin + done;
        for (std::int64_t i = 0; i < count; ++i) {
          out[i] = static_cast<std::uint8_t>(out[i] | (array.is_valid(begin + i) ? 0 : 1));
        }
      });
    }
  });
  return marks;
}

std::unique_ptr<const CodeReader> hashed_side(KeyColumns keys, bool nulls_equal, int code_bits,
                                              int threads) {
  OwnedArray<std::uint64_t> codes = hash_rows(keys, threads);
  if (code_bits < 64) {
    for (std::uint64_t& code : codes) code &= (std::uint64_t{1} << code_bits) - 1;
  }
  const bool has_nulls = std::any_of(keys.begin(), keys.end(),
                                     [](const Column* key) { return key->null_count() > 0; });
  OwnedArray<std::uint8_t> marks;
  if (has_nulls && !nulls_equal) marks = mark_null_keys(keys, threads);
  return std::make_unique<HashedCodes>(std::move(codes), std::move(marks));
}

std::vector<Column> plain_columns(KeyColumns keys, int threads) {
  std::vector<Column> columns;
  columns.reserve(keys.size());
  for (const Column* key : keys) columns.push_back(decode_dictionary(*key, threads));
  return columns;
}

std::vector<const Column*> pointers(const std::vector<Column>& columns) {
  std::vector<const Column*> found;
  for (const Column& column : columns) found.push_back(&column);
  return found;
}

JoinKeys hashed_codes(KeyColumns left, KeyColumns right, bool nulls_equal, int code_bits,
                      int threads) {
  JoinKeys keys;
  keys.exact = false;
  keys.left_columns = plain_columns(left, threads);
  keys.right_columns = plain_columns(right, threads);
  keys.left = hashed_side(pointers(keys.left_columns), nulls_equal, code_bits, threads);
  keys.right = hashed_side(pointers(keys.right_columns), nulls_equal, code_bits, threads);
  return keys;
}

// The words of all pairs, or nothing if one pair has none.
std::optional<std::vector<WordPair>> all_words(KeyColumns left, KeyColumns right, int threads) {
  std::vector<WordPair> pairs;
  for (std::size_t i = 0; i < left.size(); ++i) {
    auto pair = make_words(*left[i], *right[i], threads);
    if (!pair) return std::nullopt;
    pairs.push_back(std::move(*pair));
  }
  return pairs;
}

}  // namespace

JoinKeys encode_keys(KeyColumns left, KeyColumns right, bool nulls_equal, int code_bits,
                     int threads) {
  check_comparable(left, right);
  if (auto pairs = all_words(left, right, threads)) {
    WordPair& first = pairs->front();
    const bool nulls_match = nulls_equal && first.left.has_nulls() && first.right.has_nulls();
    if (pairs->size() == 1 && !nulls_match) {
      const bool is_value = left[0]->type().is_integral() && right[0]->type().is_integral();
      return single_codes(std::move(first), is_value, threads);
    }
    if (auto keys = packed_codes(std::move(*pairs), nulls_equal, threads)) return std::move(*keys);
  }
  return hashed_codes(left, right, nulls_equal, code_bits, threads);
}

}  // namespace elevon::kernel

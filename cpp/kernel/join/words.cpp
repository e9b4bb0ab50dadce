// Finds a common form for both columns of a pair, and its bounds.

#include "kernel/join/words.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "kernel/join/bounds.hpp"
#include "kernel/join/config.hpp"
#include "kernel/join/readers.hpp"
#include "kernel/keys/prefix_columns.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {

using arrow::Array;
using arrow::Column;
using arrow::Kind;
using arrow::Layout;
using arrow::Type;

const std::uint64_t* WordReader::in_place(const Array&, std::int64_t) const {
  return nullptr;
}

void WordReader::mark_nulls(const Array& array, std::int64_t begin, std::int64_t count,
                            std::uint8_t* out) const {
  for (std::int64_t i = 0; i < count; ++i) out[i] = array.is_valid(begin + i) ? 0 : 1;
}

bool WordReader::hides_nulls() const {
  return false;
}

KeyWords::KeyWords(Column column, std::unique_ptr<const WordReader> reader, bool is_signed)
    : column_(std::move(column)),
      reader_(std::move(reader)),
      is_signed_(is_signed),
      has_nulls_(column_.null_count() > 0 || reader_->hides_nulls()) {}

const std::uint64_t* KeyWords::read(Range rows, std::uint64_t* scratch) const {
  const std::uint64_t* found = scratch;
  for_pieces(column_, rows, [&](const Array& array, auto begin, auto count, auto done) {
    const std::uint64_t* place = count == rows.size() ? reader_->in_place(array, begin) : nullptr;
    if (place != nullptr) {
      found = place;
    } else {
      reader_->read(array, begin, count, scratch + done);
    }
  });
  return found;
}

void KeyWords::mark_nulls(Range rows, std::uint8_t* out) const {
  for_pieces(column_, rows, [&](const Array& array, auto begin, auto count, auto done) {
    reader_->mark_nulls(array, begin, count, out + done);
  });
}

WordBounds KeyWords::bounds_of(Range rows) const {
  std::array<std::uint64_t, join_config::kBlockRows> words;
  std::array<std::uint8_t, join_config::kBlockRows> nulls;
  WordBounds bounds;
  for_blocks(rows, join_config::kBlockRows, [&](Range block) {
    const std::uint64_t* values = read(block, words.data());
    std::int64_t count = block.size();
    if (has_nulls_) {
      mark_nulls(block, nulls.data());
      count = drop_marked(values, nulls.data(), count, words.data());
      values = words.data();
    }
    extend_bounds(values, count, is_signed_, bounds);
  });
  return bounds;
}

WordBounds KeyWords::bounds(int threads) const {
  const int parts = useful_threads(rows(), threads);
  std::vector<WordBounds> found(static_cast<std::size_t>(parts));
  parallel(parts, [&](int part) {
    found[static_cast<std::size_t>(part)] = bounds_of(part_of(rows(), parts, part));
  });
  WordBounds all;
  for (const WordBounds& bounds : found) {
    if (!bounds.any) continue;
    extend_bounds(&bounds.min, 1, is_signed_, all);
    extend_bounds(&bounds.max, 1, is_signed_, all);
  }
  return all;
}

namespace {

// Both sides are read alike: what fits one column must fit its partner too.
std::optional<WordPair> same_readers(const Column& left, const Column& right) {
  auto left_reader = plain_reader(left.type());
  auto right_reader = plain_reader(right.type());
  if (left_reader == nullptr || right_reader == nullptr) return std::nullopt;
  const bool is_signed = left.type().is_integral() && left.type().is_signed;
  return WordPair{KeyWords(left, std::move(left_reader), is_signed),
                  KeyWords(right, std::move(right_reader), is_signed)};
}

std::optional<WordPair> prefixed_strings(const Column& left, const Column& right, int threads) {
  const std::array columns{&left, &right};
  const int useful = useful_threads(std::max(left.length(), right.length()), threads);
  const auto prefix = exact_prefix(columns, useful);
  if (!prefix) return std::nullopt;
  return WordPair{KeyWords(left, prefix_reader(left, *prefix, useful), false),
                  KeyWords(right, prefix_reader(right, *prefix, useful), false)};
}

std::optional<WordPair> short_strings(const Column& left, const Column& right) {
  if (!has_short_values(left) || !has_short_values(right)) return std::nullopt;
  return WordPair{KeyWords(left, short_string_reader(), false),
                  KeyWords(right, short_string_reader(), false)};
}

std::optional<WordPair> narrow_decimals(const Column& left, const Column& right) {
  if (!has_narrow_decimals(left) || !has_narrow_decimals(right)) return std::nullopt;
  return WordPair{KeyWords(left, narrow_decimal_reader(), true),
                  KeyWords(right, narrow_decimal_reader(), true)};
}

bool is_coded_string(const Type& type) {
  return type.layout == Layout::Dictionary && type.dictionary->is_binary();
}

// Dictionaries with about as many values as there are rows would cost more to number than to
// decode.
bool worth_numbering(const Column& left, const Column& right) {
  const std::int64_t values = left.dictionary()->length + right.dictionary()->length;
  return is_coded_string(left.type()) && is_coded_string(right.type()) &&
         2 * values <= left.length() + right.length();
}

WordPair numbered_dictionaries(const Column& left, const Column& right) {
  auto [left_reader, right_reader] = dictionary_readers(*left.dictionary(), *right.dictionary());
  return WordPair{KeyWords(left, std::move(left_reader), false),
                  KeyWords(right, std::move(right_reader), false)};
}

}  // namespace

std::optional<WordPair> make_words(const Column& left, const Column& right, int threads) {
  const bool coded_left = left.type().layout == Layout::Dictionary;
  const bool coded_right = right.type().layout == Layout::Dictionary;
  if (coded_left && coded_right && worth_numbering(left, right)) {
    return numbered_dictionaries(left, right);
  }
  if (coded_left || coded_right) {
    return make_words(decode_dictionary(left, threads), decode_dictionary(right, threads), threads);
  }
  if (left.type().is_binary() || right.type().is_binary()) {
    auto words = prefixed_strings(left, right, threads);
    return words ? std::move(words) : short_strings(left, right);
  }
  if (left.type().kind == Kind::Decimal && left.type().width == 16) {
    return narrow_decimals(left, right);
  }
  return same_readers(left, right);
}

}  // namespace elevon::kernel

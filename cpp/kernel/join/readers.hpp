// The word readers, one per physical form of a key column.
#pragma once

#include <memory>
#include <utility>

#include "kernel/join/words.hpp"
#include "kernel/keys/prefix_code.hpp"

namespace elevon::kernel {

using WordReaderPtr = std::unique_ptr<const WordReader>;

// For integers, dates, times, floats, bools, fixed bytes of 1 to 8 and columns of nulls only;
// nullptr for other types.
[[nodiscard]] WordReaderPtr plain_reader(const arrow::Type& type);

// For utf8 and binary that a prefix code tells apart; both sides need the same code.
[[nodiscard]] WordReaderPtr prefix_reader(const arrow::Column& column, const PrefixCode& prefix,
                                          int threads);

// For utf8 and binary whose values all have at most 7 bytes: bytes, and the length on top.
[[nodiscard]] bool has_short_values(const arrow::Column& column);
[[nodiscard]] WordReaderPtr short_string_reader();

// For decimal128 columns whose values all fit 64 bits.
[[nodiscard]] bool has_narrow_decimals(const arrow::Column& column);
[[nodiscard]] WordReaderPtr narrow_decimal_reader();

// For strings behind dictionaries: one numbering for the values of both.
[[nodiscard]] std::pair<WordReaderPtr, WordReaderPtr> dictionary_readers(const arrow::Array& left,
                                                                         const arrow::Array& right);

}  // namespace elevon::kernel

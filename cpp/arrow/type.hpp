// What a column is: the Arrow type as parsed from a format string, and the field around it. Values
// are immutable and shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/unique.hpp"

namespace elevon::arrow {

// The logical family. Signedness and unit are in the Type; physical form is the Layout.
enum class Kind : std::uint8_t {
  Null,
  Bool,
  Int,
  UInt,
  Float,
  Decimal,
  Date,
  Time,
  Timestamp,
  Duration,
  Interval,
  Utf8,
  Binary,
  FixedBinary,
  List,
  FixedList,
  Struct,
  Map,
  Dictionary,
};

// The physical form: which buffers there are, and how a value is found in them.
enum class Layout : std::uint8_t {
  Null,         // no buffer
  Bits,         // bits
  Fixed,        // width bytes per value
  Offsets32,    // int32 offsets, bytes
  Offsets64,    // int64 offsets, bytes
  Views,        // 16-byte views, any number of data buffers
  List32,       // int32 offsets, one child (maps too)
  List64,       // int64 offsets, one child
  ListViews32,  // int32 offsets, int32 sizes, one child
  ListViews64,  // int64 offsets, int64 sizes, one child
  FixedList,    // one child of list_size values per row
  Struct,       // children row by row
  Dictionary,   // indices of width bytes, one dictionary
};

struct Type;
using TypePtr = std::shared_ptr<const Type>;

struct Field {
  std::string name;
  TypePtr type;
  bool nullable = true;
  std::string metadata;  // as encoded by the C interface; empty: none
};

struct Type {
  Kind kind = Kind::Null;
  Layout layout = Layout::Null;
  int width = 0;          // bytes of one value (Fixed) or of one index (Dictionary)
  bool is_signed = true;  // of an integer, or of a dictionary's index
  std::int64_t list_size = 0;
  std::int64_t flags = 0;  // dictionary ordered, map keys sorted; nullability is the Field's
  std::string format;
  std::vector<Field> children;
  TypePtr dictionary;  // type of the values

  [[nodiscard]] bool is_binary() const {
    return layout == Layout::Offsets32 || layout == Layout::Offsets64 || layout == Layout::Views;
  }
  // True for what compares as one signed or unsigned integer of `width` <= 8 bytes.
  [[nodiscard]] bool is_integral() const {
    return layout == Layout::Fixed && width <= 8 && kind != Kind::Float &&
           kind != Kind::FixedBinary && kind != Kind::Interval;
  }
};

// Whether the places of a dictionary's entries are their order; else their values are.
[[nodiscard]] inline bool is_ordered(const Type& type) {
  return type.layout == Layout::Dictionary && (type.flags & ARROW_FLAG_DICTIONARY_ORDERED) != 0;
}

// Throws std::invalid_argument: a malformed or unsupported format (unions, run-end encoded).
[[nodiscard]] TypePtr parse_type(const ArrowSchema& schema);
[[nodiscard]] Field parse_field(const ArrowSchema& schema);

// A type without children, by its format ("l", "u", "tdD", ...).
[[nodiscard]] TypePtr simple_type(std::string_view format);

// Equal types hold the same values in the same form; names of nested fields do not matter.
[[nodiscard]] bool same_type(const Type& left, const Type& right);

// A copy that its consumer owns.
[[nodiscard]] UniqueSchema export_field(const Field& field);

// The type in Arrow's words, for messages: "int64", "list<utf8>", "dictionary<utf8>".
[[nodiscard]] std::string describe(const Type& type);

}  // namespace elevon::arrow

// Parses Arrow's format strings and writes them back.

#include "arrow/type.hpp"

#include <charconv>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace elevon::arrow {
namespace {

// Deeper nesting is hostile: recursion over a type must not exhaust the stack.
constexpr int kMaxDepth = 64;

[[noreturn]] void unsupported(std::string_view format, const char* why) {
  throw std::invalid_argument("Arrow type '" + std::string(format) + "' " + why);
}

struct Simple {
  std::string_view format;
  Kind kind;
  Layout layout;
  int width;
  bool is_signed;
  std::string_view name;
};

constexpr Simple kSimple[] = {
    {"n", Kind::Null, Layout::Null, 0, false, "null"},
    {"b", Kind::Bool, Layout::Bits, 0, false, "bool"},
    {"c", Kind::Int, Layout::Fixed, 1, true, "int8"},
    {"C", Kind::UInt, Layout::Fixed, 1, false, "uint8"},
    {"s", Kind::Int, Layout::Fixed, 2, true, "int16"},
    {"S", Kind::UInt, Layout::Fixed, 2, false, "uint16"},
    {"i", Kind::Int, Layout::Fixed, 4, true, "int32"},
    {"I", Kind::UInt, Layout::Fixed, 4, false, "uint32"},
    {"l", Kind::Int, Layout::Fixed, 8, true, "int64"},
    {"L", Kind::UInt, Layout::Fixed, 8, false, "uint64"},
    {"e", Kind::Float, Layout::Fixed, 2, true, "float16"},
    {"f", Kind::Float, Layout::Fixed, 4, true, "float32"},
    {"g", Kind::Float, Layout::Fixed, 8, true, "float64"},
    {"u", Kind::Utf8, Layout::Offsets32, 0, false, "utf8"},
    {"U", Kind::Utf8, Layout::Offsets64, 0, false, "large_utf8"},
    {"vu", Kind::Utf8, Layout::Views, 0, false, "utf8_view"},
    {"z", Kind::Binary, Layout::Offsets32, 0, false, "binary"},
    {"Z", Kind::Binary, Layout::Offsets64, 0, false, "large_binary"},
    {"vz", Kind::Binary, Layout::Views, 0, false, "binary_view"},
    {"tdD", Kind::Date, Layout::Fixed, 4, true, "date32"},
    {"tdm", Kind::Date, Layout::Fixed, 8, true, "date64"},
    {"tts", Kind::Time, Layout::Fixed, 4, true, "time32[s]"},
    {"ttm", Kind::Time, Layout::Fixed, 4, true, "time32[ms]"},
    {"ttu", Kind::Time, Layout::Fixed, 8, true, "time64[us]"},
    {"ttn", Kind::Time, Layout::Fixed, 8, true, "time64[ns]"},
    {"tDs", Kind::Duration, Layout::Fixed, 8, true, "duration[s]"},
    {"tDm", Kind::Duration, Layout::Fixed, 8, true, "duration[ms]"},
    {"tDu", Kind::Duration, Layout::Fixed, 8, true, "duration[us]"},
    {"tDn", Kind::Duration, Layout::Fixed, 8, true, "duration[ns]"},
    {"tiM", Kind::Interval, Layout::Fixed, 4, true, "interval[months]"},
    {"tiD", Kind::Interval, Layout::Fixed, 8, true, "interval[days, ms]"},
    {"tin", Kind::Interval, Layout::Fixed, 16, true, "interval[months, days, ns]"},
    {"+l", Kind::List, Layout::List32, 0, false, "list"},
    {"+L", Kind::List, Layout::List64, 0, false, "large_list"},
    {"+vl", Kind::List, Layout::ListViews32, 0, false, "list_view"},
    {"+vL", Kind::List, Layout::ListViews64, 0, false, "large_list_view"},
    {"+s", Kind::Struct, Layout::Struct, 0, false, "struct"},
    {"+m", Kind::Map, Layout::List32, 0, false, "map"},
};

const Simple* find_simple(std::string_view format) {
  for (const Simple& simple : kSimple) {
    if (simple.format == format) return &simple;
  }
  return nullptr;
}

// The number at the start of `text`, which is cut off, with a comma after it.
std::int64_t parse_number(std::string_view& text, std::string_view format) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) unsupported(format, "is malformed: a number is missing");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (text.starts_with(',')) text.remove_prefix(1);
  return value;
}

void parse_decimal(Type& type) {
  std::string_view rest = std::string_view(type.format).substr(2);
  parse_number(rest, type.format);
  parse_number(rest, type.format);
  const std::int64_t bits = rest.empty() ? 128 : parse_number(rest, type.format);
  if (bits != 32 && bits != 64 && bits != 128 && bits != 256) {
    unsupported(type.format, "has a width that Arrow does not define");
  }
  type.kind = Kind::Decimal;
  type.layout = Layout::Fixed;
  type.width = static_cast<int>(bits / 8);
}

// "w:16" and "+w:4": the number after the colon.
std::int64_t parse_size(const Type& type) {
  std::string_view rest = std::string_view(type.format).substr(type.format.find(':') + 1);
  const std::int64_t size = parse_number(rest, type.format);
  if (size < 0 || size > INT32_MAX) unsupported(type.format, "has a size out of range");
  return size;
}

void parse_parametric(Type& type) {
  const std::string_view format = type.format;
  if (format.starts_with("d:")) {
    parse_decimal(type);
  } else if (format.starts_with("w:")) {
    type.kind = Kind::FixedBinary;
    type.layout = Layout::Fixed;
    type.is_signed = false;
    type.width = static_cast<int>(parse_size(type));
  } else if (format.starts_with("+w:")) {
    type.kind = Kind::FixedList;
    type.layout = Layout::FixedList;
    type.list_size = parse_size(type);
  } else if (format.size() >= 4 && format.starts_with("ts") && format[3] == ':' &&
             std::strchr("smun", format[2]) != nullptr) {
    type.kind = Kind::Timestamp;
    type.layout = Layout::Fixed;
    type.width = 8;
  } else {
    unsupported(format, "is not supported");
  }
}

Type parse_format(const char* format) {
  if (format == nullptr) unsupported("", "is malformed: no format");
  Type type;
  type.format = format;
  if (const Simple* simple = find_simple(type.format)) {
    type.kind = simple->kind;
    type.layout = simple->layout;
    type.width = simple->width;
    type.is_signed = simple->is_signed;
  } else {
    parse_parametric(type);
  }
  return type;
}

bool is_list(Layout layout) {
  return layout == Layout::List32 || layout == Layout::List64 || layout == Layout::ListViews32 ||
         layout == Layout::ListViews64 || layout == Layout::FixedList;
}

void check_children(const Type& type) {
  const std::size_t count = type.children.size();
  const bool right =
      is_list(type.layout) ? count == 1 : type.layout == Layout::Struct || count == 0;
  if (!right) unsupported(type.format, "has the wrong number of children");
  if (type.kind == Kind::Map) {
    const Type& entries = *type.children[0].type;
    if (entries.layout != Layout::Struct || entries.children.size() != 2) {
      unsupported(type.format, "is malformed: a map's entries are no pairs");
    }
  }
}

std::int32_t read_int32(const char* at) {
  std::int32_t value = 0;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Metadata is a count of pairs, then each key and value with its length before it.
std::string copy_metadata(const char* metadata) {
  if (metadata == nullptr) return {};
  const char* at = metadata + 4;
  for (std::int64_t left = std::int64_t{2} * read_int32(metadata); left > 0; --left) {
    const std::int32_t size = read_int32(at);
    if (size < 0) throw std::invalid_argument("Arrow metadata has a negative length");
    at += 4 + size;
  }
  return {metadata, at};
}

Field parse_field_at(const ArrowSchema& schema, int depth);

TypePtr parse_type_at(const ArrowSchema& schema, int depth) {
  if (depth > kMaxDepth) throw std::invalid_argument("Arrow type is nested too deeply");
  Type type = parse_format(schema.format);
  if (schema.n_children < 0 || (schema.n_children > 0 && schema.children == nullptr)) {
    unsupported(type.format, "has malformed children");
  }
  for (std::int64_t index = 0; index < schema.n_children; ++index) {
    if (schema.children[index] == nullptr) unsupported(type.format, "has a missing child");
    type.children.push_back(parse_field_at(*schema.children[index], depth + 1));
  }
  check_children(type);
  type.flags = schema.flags & (ARROW_FLAG_DICTIONARY_ORDERED | ARROW_FLAG_MAP_KEYS_SORTED);
  if (schema.dictionary != nullptr) {
    if (type.kind != Kind::Int && type.kind != Kind::UInt) {
      unsupported(type.format, "cannot be the index of a dictionary");
    }
    type.kind = Kind::Dictionary;
    type.layout = Layout::Dictionary;
    type.dictionary = parse_type_at(*schema.dictionary, depth + 1);
  }
  return std::make_shared<const Type>(std::move(type));
}

Field parse_field_at(const ArrowSchema& schema, int depth) {
  return {schema.name == nullptr ? "" : schema.name, parse_type_at(schema, depth),
          (schema.flags & ARROW_FLAG_NULLABLE) != 0, copy_metadata(schema.metadata)};
}

// What an exported schema keeps alive.
struct SchemaContent {
  std::string format, name, metadata;
  std::vector<UniqueSchema> children;
  std::vector<ArrowSchema*> pointers;
  UniqueSchema dictionary;
};

void release_schema(ArrowSchema* schema) {
  delete static_cast<SchemaContent*>(schema->private_data);
  schema->release = nullptr;
}

UniqueSchema own_schema(std::unique_ptr<SchemaContent> content, std::int64_t flags) {
  for (UniqueSchema& child : content->children) content->pointers.push_back(child.get());
  ArrowSchema schema{};
  schema.format = content->format.c_str();
  schema.name = content->name.c_str();
  schema.metadata = content->metadata.empty() ? nullptr : content->metadata.data();
  schema.flags = flags;
  schema.n_children = static_cast<std::int64_t>(content->pointers.size());
  schema.children = content->pointers.data();
  schema.dictionary = content->dictionary ? content->dictionary.get() : nullptr;
  schema.release = release_schema;
  schema.private_data = content.release();
  return UniqueSchema(&schema);
}

}  // namespace

TypePtr parse_type(const ArrowSchema& schema) {
  return parse_type_at(schema, 0);
}

Field parse_field(const ArrowSchema& schema) {
  return parse_field_at(schema, 0);
}

TypePtr simple_type(std::string_view format) {
  return std::make_shared<const Type>(parse_format(std::string(format).c_str()));
}

bool same_type(const Type& left, const Type& right) {
  if (left.format != right.format || left.layout != right.layout ||
      left.children.size() != right.children.size()) {
    return false;
  }
  for (std::size_t index = 0; index < left.children.size(); ++index) {
    const Field& a = left.children[index];
    const Field& b = right.children[index];
    if (left.layout == Layout::Struct && a.name != b.name) return false;
    if (!same_type(*a.type, *b.type)) return false;
  }
  return left.layout != Layout::Dictionary || same_type(*left.dictionary, *right.dictionary);
}

UniqueSchema export_field(const Field& field) {
  auto content = std::make_unique<SchemaContent>();
  content->format = field.type->format;
  content->name = field.name;
  content->metadata = field.metadata;
  for (const Field& child : field.type->children) {
    content->children.push_back(export_field(child));
  }
  if (field.type->layout == Layout::Dictionary) {
    content->dictionary = export_field({"", field.type->dictionary, true, ""});
  }
  const std::int64_t nullable = field.nullable ? ARROW_FLAG_NULLABLE : 0;
  return own_schema(std::move(content), field.type->flags | nullable);
}

std::string describe(const Type& type) {
  if (type.layout == Layout::Dictionary) return "dictionary<" + describe(*type.dictionary) + ">";
  const Simple* simple = find_simple(type.format);
  std::string name = simple != nullptr ? std::string(simple->name) : type.format;
  if (type.kind == Kind::Timestamp) name = "timestamp[" + type.format.substr(2) + "]";
  if (type.kind == Kind::Decimal) name = "decimal(" + type.format.substr(2) + ")";
  if (type.kind == Kind::FixedBinary) name = "fixed_size_binary[" + type.format.substr(2) + "]";
  if (type.kind == Kind::FixedList) name = "fixed_size_list[" + type.format.substr(3) + "]";
  if (type.children.empty()) return name;
  std::string inner;
  for (const Field& child : type.children) {
    inner += (inner.empty() ? "" : ", ") + describe(*child.type);
  }
  return name + "<" + inner + ">";
}

}  // namespace elevon::arrow

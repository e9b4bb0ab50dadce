// See hostile_stream.hpp.

#include "tests/hostile_stream.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

namespace elevon::tests {
namespace {

constexpr int kMaxDepth = 3;
constexpr std::int64_t kMaxRows = 24;
constexpr std::int64_t kMaxBytes = 64;

constexpr std::array<std::string_view, 31> kFlat = {
    "n",   "b",   "c",      "C",         "s",   "S",   "i",   "I",   "l",
    "L",   "e",   "f",      "g",         "u",   "U",   "vu",  "z",   "Z",
    "vz",  "tdD", "tdm",    "tts",       "ttn", "tDs", "tiM", "tin", "tsu:Europe/Oslo",
    "w:3", "w:0", "d:12,2", "d:38,0,256"};
constexpr std::array<std::string_view, 8> kNested = {"+l", "+L", "+vl",  "+vL",
                                                     "+s", "+m", "+w:2", "+w:0"};
// None of them may be taken for a type.
constexpr std::array<std::string_view, 12> kWrong = {
    "",     "q",  "w:",      "w:-1", "w:99999999999999999999", "d:", "d:5,x", "+w:-3",
    "+w:x", "+r", "+us:0,1", "td"};

constexpr std::array<std::int64_t, 6> kNumbers = {-1,
                                                  -5,
                                                  std::numeric_limits<std::int64_t>::min(),
                                                  std::numeric_limits<std::int64_t>::max(),
                                                  std::numeric_limits<std::int64_t>::max() - 3,
                                                  std::int64_t{1} << 62};

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Bytes of one value; -1 where the format is no fixed width.
std::int64_t width_of(std::string_view format) {
  if (format == "c" || format == "C") return 1;
  if (format == "s" || format == "S" || format == "e") return 2;
  if (format == "i" || format == "I" || format == "f" || format == "tdD" || format == "tts" ||
      format == "tiM") {
    return 4;
  }
  if (format == "tin" || format == "d:12,2") return 16;
  if (format == "d:38,0,256") return 32;
  if (format == "w:3") return 3;
  if (format == "w:0") return 0;
  if (format == "l" || format == "L" || format == "g" || format == "tdm" || format == "ttn" ||
      format == "tDs" || starts_with(format, "tsu")) {
    return 8;
  }
  return -1;
}

}  // namespace

struct Callbacks {
  static HostileStream& self(void* data) { return *static_cast<HostileStream*>(data); }

  template <typename Struct>
  static void release(Struct* given) {
    HostileStream& stream = self(given->private_data);
    if (given->release == nullptr) ++stream.double_;
    ++stream.released_;
    given->release = nullptr;
  }
  // Children belong to their parent.
  template <typename Struct>
  static void release_child(Struct* given) {
    given->release = nullptr;
  }
  static int get_schema(ArrowArrayStream* given, ArrowSchema* out) {
    HostileStream& stream = self(given->private_data);
    *out = *stream.schema_;
    out->release = &release<ArrowSchema>;
    ++stream.handed_out_;
    return 0;
  }
  static int get_next(ArrowArrayStream* given, ArrowArray* out) {
    HostileStream& stream = self(given->private_data);
    *out = ArrowArray{};
    if (stream.next_ == stream.batches_.size()) return stream.dice_.once_in(16) ? EIO : 0;
    *out = *stream.batches_[stream.next_++];
    out->release = &release<ArrowArray>;
    ++stream.handed_out_;
    return 0;
  }
  static const char* get_last_error(ArrowArrayStream* given) {
    return self(given->private_data).dice_.once_in(2) ? nullptr : "as ordered";
  }
};

HostileStream::HostileStream(Dice& dice) : dice_(dice) {
  schema_ = make_schema(0);
  const int count = dice_.below(4);
  for (int batch = 0; batch < count; ++batch) {
    batches_.push_back(make_array(*schema_, dice_.below(kMaxRows), 0));
  }
  stream_.get_schema = &Callbacks::get_schema;
  stream_.get_next = &Callbacks::get_next;
  stream_.get_last_error = &Callbacks::get_last_error;
  stream_.release = &Callbacks::release<ArrowArrayStream>;
  stream_.private_data = this;
  ++handed_out_;
}

std::string_view HostileStream::pick_format(int depth) {
  if (dice_.once_in(100)) return kWrong.at(static_cast<std::size_t>(dice_.below(kWrong.size())));
  if (depth == 0 && !dice_.once_in(8)) return "+s";
  if (depth < kMaxDepth && dice_.once_in(3)) {
    return kNested.at(static_cast<std::size_t>(dice_.below(kNested.size())));
  }
  return kFlat.at(static_cast<std::size_t>(dice_.below(kFlat.size())));
}

ArrowSchema* HostileStream::make_schema(int depth) {
  schemas_.push_back(std::make_unique<ArrowSchema>());
  ArrowSchema& schema = *schemas_.back();
  const std::string_view format = pick_format(depth);
  schema.format = format.data();  // literals end with a zero
  schema.name = dice_.once_in(8) ? nullptr : "x";
  schema.flags = dice_.once_in(4) ? dice_.byte() : ARROW_FLAG_NULLABLE;
  schema.release = &Callbacks::release_child<ArrowSchema>;
  schema.private_data = this;
  if (format[0] == '+') {
    const bool many = format == "+s";
    schema.n_children = many ? dice_.below(4) : 1;
    schema_lists_.push_back(std::make_unique<ArrowSchema*[]>(4));
    schema.children = schema_lists_.back().get();
    for (std::int64_t child = 0; child < schema.n_children; ++child) {
      schema.children[child] = make_schema(depth + 1);
    }
    if (dice_.once_in(100)) schema.n_children = -1;
    if (dice_.once_in(100)) schema.children = nullptr;
    if (schema.children != nullptr && dice_.once_in(100)) schema.children[0] = nullptr;
  } else if (width_of(format) > 0 && std::strchr("cCsSiIlL", format[0]) != nullptr &&
             format.size() == 1 && dice_.once_in(3)) {
    schema.dictionary = make_schema(depth + 1);
  }
  if (dice_.once_in(200)) schema.format = nullptr;
  return &schema;
}

ArrowArray* HostileStream::make_array(const ArrowSchema& schema, std::int64_t rows, int depth) {
  arrays_.push_back(std::make_unique<ArrowArray>());
  ArrowArray& array = *arrays_.back();
  array.offset = dice_.once_in(2) ? dice_.below(9) : 0;
  array.length = rows;
  array.release = &Callbacks::release_child<ArrowArray>;
  array.private_data = this;
  if (schema.format != nullptr) fill(array, schema, rows + array.offset, depth);
  if (dice_.once_in(12)) spoil(array);
  return &array;
}

void HostileStream::fill(ArrowArray& array, const ArrowSchema& schema, std::int64_t extent,
                         int depth) {
  const std::string_view format = schema.format;
  const bool nulls = depth > 0 && format != "n" && dice_.once_in(2);
  std::int64_t child_rows = extent;
  if (format == "n") {
    buffers(array, 0);
  } else if (format == "b") {
    buffers(array, 2)[1] = random((extent + 7) / 8);
  } else if (schema.dictionary != nullptr) {
    const std::int64_t entries = dice_.below(6);
    const std::int64_t width = width_of(format);
    auto** list = buffers(array, 2);
    list[1] = width == 1   ? small_numbers<std::int8_t>(extent, entries)
              : width == 2 ? small_numbers<std::int16_t>(extent, entries)
              : width == 4 ? small_numbers<std::int32_t>(extent, entries)
                           : small_numbers<std::int64_t>(extent, entries);
    array.dictionary = make_array(*schema.dictionary, entries, depth + 1);
  } else if (const std::int64_t width = width_of(format); width >= 0) {
    buffers(array, 2)[1] = random(extent * width);
  } else if (format == "u" || format == "z" || format == "U" || format == "Z") {
    std::int64_t last = 0;
    auto** list = buffers(array, 3);
    const bool narrow = format == "u" || format == "z";
    list[1] = narrow ? offsets<std::int32_t>(extent + 1, kMaxBytes, last)
                     : offsets<std::int64_t>(extent + 1, kMaxBytes, last);
    list[2] = random(last);
  } else if (format == "vu" || format == "vz") {
    fill_views(array, extent);
  } else if (format == "+l" || format == "+m") {
    buffers(array, 2)[1] = offsets<std::int32_t>(extent + 1, kMaxRows, child_rows);
  } else if (format == "+L") {
    buffers(array, 2)[1] = offsets<std::int64_t>(extent + 1, kMaxRows, child_rows);
  } else if (format == "+vl" || format == "+vL") {
    auto** list = buffers(array, 3);
    child_rows = dice_.below(kMaxRows);
    for (const int index : {1, 2}) {
      list[index] = format == "+vl" ? small_numbers<std::int32_t>(extent, child_rows / 2 + 1)
                                    : small_numbers<std::int64_t>(extent, child_rows / 2 + 1);
    }
  } else if (starts_with(format, "+w:")) {
    buffers(array, 1);
    child_rows = format == "+w:2" ? extent * 2 : 0;
  } else {
    buffers(array, 1);
  }
  array.null_count = nulls ? -1 : 0;
  if (nulls && array.n_buffers > 0) array.buffers[0] = random((extent + 7) / 8);
  if (schema.n_children <= 0 || schema.children == nullptr) return;
  array_lists_.push_back(std::make_unique<ArrowArray*[]>(4));
  array.children = array_lists_.back().get();
  array.n_children = schema.n_children;
  for (std::int64_t child = 0; child < schema.n_children; ++child) {
    if (schema.children[child] == nullptr) continue;
    if (dice_.once_in(24) && child_rows > 0) --child_rows;
    array.children[child] = make_array(*schema.children[child], child_rows, depth + 1);
  }
}

void HostileStream::spoil(ArrowArray& array) {
  const std::int64_t number = kNumbers.at(static_cast<std::size_t>(dice_.below(kNumbers.size())));
  switch (dice_.below(9)) {
    case 0: array.length = number; return;
    case 1: array.offset = number; return;
    case 2: array.null_count = number; return;
    case 3: return spoil_buffer_count(array, number);
    case 4: array.n_children = dice_.once_in(2) ? number : array.n_children - 1; return;
    case 5: array.buffers = nullptr; return;
    case 6: array.children = nullptr; return;
    case 7: array.dictionary = nullptr; return;
    default:
      if (array.n_buffers > 0)
        array.buffers[dice_.below(static_cast<int>(array.n_buffers))] = nullptr;
  }
}

// One buffer less or more of an array with any number of them cannot be told from a right count.
void HostileStream::spoil_buffer_count(ArrowArray& array, std::int64_t number) {
  const bool any_number = array.n_buffers > 2 && array.n_children == 0;
  array.n_buffers = any_number || dice_.once_in(2) ? number : array.n_buffers - 1;
}

const void** HostileStream::buffers(ArrowArray& array, std::int64_t count) {
  // Exactly as many: the sanitizer tells of a consumer that reads one more.
  pointers_.push_back(std::make_unique<const void*[]>(static_cast<std::size_t>(count)));
  array.n_buffers = count;
  array.buffers = pointers_.back().get();
  return array.buffers;
}

std::byte* HostileStream::memory(std::int64_t bytes) {
  memory_.push_back(std::make_unique<std::byte[]>(static_cast<std::size_t>(bytes)));
  return memory_.back().get();
}

std::byte* HostileStream::random(std::int64_t bytes) {
  if (bytes <= 0) return dice_.once_in(2) ? nullptr : memory(0);
  std::byte* made = memory(bytes);
  for (std::int64_t at = 0; at < bytes; ++at) made[at] = std::byte{dice_.byte()};
  return made;
}

// Mostly ascending from zero, with `last` the size of what they point into. A wrong one is negative
// or descends; one that is too large could not be told from a right one, so there is none.
template <typename Offset>
const void* HostileStream::offsets(std::int64_t count, std::int64_t limit, std::int64_t& last) {
  std::byte* made = memory(count * std::int64_t{sizeof(Offset)});
  Offset at = 0;
  for (std::int64_t index = 0; index < count; ++index) {
    at = static_cast<Offset>(at + (at < limit ? dice_.below(4) : 0));
    Offset written = at;
    if (dice_.once_in(200)) written = static_cast<Offset>(dice_.below(8) - 8);
    if (index + 1 == count) written = at;
    std::memcpy(made + index * std::int64_t{sizeof(Offset)}, &written, sizeof written);
  }
  last = at;
  return made;
}

// Mostly in [0, limit).
template <typename Number>
const void* HostileStream::small_numbers(std::int64_t count, std::int64_t limit) {
  std::byte* made = memory(count * std::int64_t{sizeof(Number)});
  for (std::int64_t index = 0; index < count; ++index) {
    auto number = static_cast<Number>(limit > 0 ? dice_.below(static_cast<int>(limit)) : 0);
    if (dice_.once_in(60)) number = static_cast<Number>(dice_.byte() - 128);
    if (dice_.once_in(200)) number = std::numeric_limits<Number>::max();
    std::memcpy(made + index * std::int64_t{sizeof(Number)}, &number, sizeof number);
  }
  return made;
}

void HostileStream::fill_views(ArrowArray& array, std::int64_t extent) {
  struct Parts {
    std::int32_t length;
    std::int32_t prefix;
    std::int32_t buffer;
    std::int32_t offset;
  };
  const int data_buffers = dice_.below(3);
  auto** list = buffers(array, 3 + data_buffers);
  auto* sizes = reinterpret_cast<std::int64_t*>(memory(8 * data_buffers));
  for (int index = 0; index < data_buffers; ++index) {
    sizes[index] = dice_.below(kMaxBytes);
    list[2 + index] = random(sizes[index]);
  }
  list[2 + data_buffers] = sizes;
  std::byte* views = memory(extent * 16);
  for (std::int64_t row = 0; row < extent; ++row) {
    Parts parts{dice_.below(30) - (dice_.once_in(60) ? 30 : 0), dice_.byte(), 0, 0};
    parts.buffer = data_buffers > 0 ? dice_.below(data_buffers) : dice_.below(2);
    parts.offset = dice_.below(kMaxBytes) - (dice_.once_in(60) ? 64 : 0);
    const bool inside =
        parts.length > 12 && data_buffers > 0 && parts.offset + parts.length <= sizes[parts.buffer];
    if (parts.length > 12 && !inside && !dice_.once_in(40)) parts.length = dice_.below(13);
    std::memcpy(views + row * 16, &parts, sizeof parts);
  }
  list[1] = views;
}

}  // namespace elevon::tests

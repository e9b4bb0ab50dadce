// Lays arrays over foreign memory.
//
// What is checked here is what the C structs say about themselves: counts, sizes, missing buffers.
// What the buffers contain (offsets, indices, views) is checked by validate.

#include "arrow/import.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "arrow/memory.hpp"
#include "arrow/table.hpp"

namespace elevon::arrow {
namespace {

[[noreturn]] void malformed(const Type& type, const char* what) {
  throw std::invalid_argument("malformed Arrow array of " + describe(type) + ": " + what);
}

// A view names its data buffer with 31 bits.
constexpr std::int64_t kMaxViewBuffers = std::int64_t{1} << 31;

// How many buffers the layout has; views have any number of data buffers more.
std::int64_t min_buffers(Layout layout) {
  switch (layout) {
    case Layout::Null: return 0;
    case Layout::FixedList:
    case Layout::Struct: return 1;
    case Layout::Bits:
    case Layout::Fixed:
    case Layout::Dictionary:
    case Layout::List32:
    case Layout::List64: return 2;
    default: return 3;
  }
}

// Rows [0, offset + length) of the buffers are in use.
std::int64_t extent(const Array& array) {
  return array.offset + array.length;
}

// Reads one foreign array; a class because every step needs the same three things.
class Importer {
 public:
  Importer(const ArrowArray& source, const TypePtr& type, const Owner& owner)
      : source_(source), array_(std::make_shared<Array>()) {
    array_->type = type;
    array_->owners.push_back(owner);
    array_->buffers = {kNothing, kNothing};
  }

  std::shared_ptr<Array> run() {
    read_shape();
    read_validity();
    read_buffers();
    read_children();
    return array_;
  }

 private:
  [[nodiscard]] const Type& type() const { return *array_->type; }

  void read_shape() {
    if (source_.release == nullptr) malformed(type(), "it was released already");
    array_->length = source_.length;
    array_->offset = source_.offset;
    std::int64_t end = 0;
    if (source_.length < 0 || source_.offset < 0 ||
        __builtin_add_overflow(source_.length, source_.offset, &end) || end > kMaxRows) {
      malformed(type(), "length or offset out of range");
    }
    const std::int64_t expected = min_buffers(type().layout);
    const bool views = type().layout == Layout::Views;
    // Old producers give the null type a buffer for validity.
    const bool more = views && source_.n_buffers > expected && source_.n_buffers <= kMaxViewBuffers;
    const bool fits = source_.n_buffers == expected || more ||
                      (type().layout == Layout::Null && source_.n_buffers == 1);
    if (!fits || (source_.n_buffers > 0 && source_.buffers == nullptr)) {
      malformed(type(), "wrong number of buffers");
    }
  }

  void read_validity() {
    if (type().layout == Layout::Null) {
      array_->null_count = array_->length;
      return;
    }
    const auto* bits = static_cast<const std::uint8_t*>(source_.buffers[0]);
    if (source_.null_count > 0 && bits == nullptr) malformed(type(), "nulls without a bitmap");
    if (bits == nullptr || source_.null_count == 0 || array_->length == 0) return;
    array_->null_count = count_zeros(bits, array_->offset, array_->length);
    if (array_->null_count > 0) array_->validity = bits;
  }

  // Buffer `index` of the source, holding at least `count` elements of `width` bytes.
  const std::byte* buffer(std::int64_t index, std::int64_t count, std::int64_t width,
                          std::int64_t alignment) {
    const auto* data = static_cast<const std::byte*>(source_.buffers[index]);
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(count, width, &bytes)) malformed(type(), "size out of range");
    if (bytes == 0) return data == nullptr || misaligned(data, alignment) ? kNothing : data;
    if (data == nullptr) malformed(type(), "a buffer is missing");
    return misaligned(data, alignment) ? realigned(data, bytes) : data;
  }

  static bool misaligned(const std::byte* data, std::int64_t alignment) {
    return std::bit_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(alignment) != 0;
  }

  const std::byte* realigned(const std::byte* data, std::int64_t bytes) {
    Writable copy = allocate(bytes);
    std::memcpy(copy.data, data, static_cast<std::size_t>(bytes));
    array_->owners.push_back(copy.memory.owner);
    return copy.data;
  }

  void read_buffers() {
    switch (type().layout) {
      case Layout::Null:
      case Layout::Struct:
      case Layout::FixedList: return;
      case Layout::Bits: return read_bits();
      case Layout::Fixed:
      case Layout::Dictionary: return read_values(type().width);
      case Layout::Offsets32: return read_offsets(4, true);
      case Layout::Offsets64: return read_offsets(8, true);
      case Layout::List32: return read_offsets(4, false);
      case Layout::List64: return read_offsets(8, false);
      case Layout::ListViews32: return read_list_views(4);
      case Layout::ListViews64: return read_list_views(8);
      case Layout::Views: return read_views();
    }
  }

  void read_bits() { array_->buffers[0] = buffer(1, (extent(*array_) + 7) / 8, 1, 1); }

  // Wider values than 8 bytes are read as words of 8.
  void read_values(int width) {
    const std::int64_t natural =
        width == 0 ? 1 : std::int64_t{1} << std::countr_zero(static_cast<unsigned>(width));
    array_->buffers[0] = buffer(1, extent(*array_), width, std::min<std::int64_t>(natural, 8));
  }

  // An array of no rows may come without offsets; then it has no offset either.
  void read_offsets(std::int64_t width, bool bytes) {
    if (array_->length == 0) {
      array_->offset = 0;
      return;
    }
    array_->buffers[0] = buffer(1, extent(*array_) + 1, width, width);
    if (bytes && source_.buffers[2] != nullptr) {
      array_->buffers[1] = static_cast<const std::byte*>(source_.buffers[2]);
    } else if (bytes && (width == 4 ? spans_bytes<std::int32_t>() : spans_bytes<std::int64_t>())) {
      malformed(type(), "the bytes are missing");
    }
  }

  template <typename Offset>
  bool spans_bytes() const {
    const auto* offsets = array_->values<Offset>();
    return offsets[0] != offsets[array_->length];
  }

  void read_list_views(std::int64_t width) {
    array_->buffers[0] = buffer(1, extent(*array_), width, width);
    array_->buffers[1] = buffer(2, extent(*array_), width, width);
  }

  void read_views() {
    array_->buffers[0] = buffer(1, extent(*array_), sizeof(View), alignof(View));
    const std::int64_t count = source_.n_buffers - 3;
    if (count == 0) return;
    const auto* sizes = static_cast<const std::int64_t*>(source_.buffers[source_.n_buffers - 1]);
    if (sizes == nullptr) malformed(type(), "the sizes of its data buffers are missing");
    for (std::int64_t index = 0; index < count; ++index) {
      const auto* data = static_cast<const std::byte*>(source_.buffers[2 + index]);
      if (sizes[index] < 0 || (data == nullptr && sizes[index] > 0)) {
        malformed(type(), "a data buffer is missing");
      }
      array_->data_buffers.emplace_back(data == nullptr ? kNothing : data,
                                        static_cast<std::size_t>(sizes[index]));
    }
  }

  void read_children() {
    const auto count = static_cast<std::int64_t>(type().children.size());
    if (source_.n_children != count || (count > 0 && source_.children == nullptr)) {
      malformed(type(), "wrong number of children");
    }
    for (std::int64_t index = 0; index < count; ++index) {
      if (source_.children[index] == nullptr) malformed(type(), "a child is missing");
      array_->children.push_back(lay_over(*source_.children[index],
                                          type().children[static_cast<std::size_t>(index)].type,
                                          array_->owners.front()));
    }
    if (type().layout != Layout::Dictionary) return;
    if (source_.dictionary == nullptr) malformed(type(), "the dictionary is missing");
    array_->dictionary = lay_over(*source_.dictionary, type().dictionary, array_->owners.front());
  }

  const ArrowArray& source_;
  std::shared_ptr<Array> array_;
};

Column import_column(const ArrayPtr& child, const Field& field, std::int64_t offset,
                     std::int64_t length) {
  if (child->length < offset + length) malformed(*field.type, "shorter than its table");
  return {field, {slice(child, offset, length)}};
}

}  // namespace

std::int64_t count_zeros(const std::uint8_t* bits, std::int64_t offset, std::int64_t length) {
  std::int64_t ones = 0;
  std::int64_t at = offset;
  const std::int64_t end = offset + length;
  for (; at < end && (at & 7) != 0; ++at) ones += (bits[at >> 3] >> (at & 7)) & 1;
  for (; at + 64 <= end; at += 64) {
    std::uint64_t word = 0;
    std::memcpy(&word, bits + (at >> 3), sizeof word);
    ones += std::popcount(word);
  }
  for (; at < end; ++at) ones += (bits[at >> 3] >> (at & 7)) & 1;
  return length - ones;
}

ArrayPtr lay_over(const ArrowArray& source, const TypePtr& type, const Owner& owner) {
  const std::shared_ptr<Array> array = Importer(source, type, owner).run();
  clear_null_views(*array);
  validate(*array);
  return array;
}

std::vector<Column> import_batch(const std::vector<Field>& fields, const TypePtr& type,
                                 UniqueArray source, std::int64_t& length) {
  const auto shared = std::make_shared<UniqueArray>(std::move(source));
  const ArrayPtr batch = lay_over(*shared->get(), type, shared);
  length = batch->length;
  if (type->layout != Layout::Struct) return {Column(fields.front(), {batch})};
  if (batch->null_count > 0) malformed(*type, "a table cannot have null rows");
  std::vector<Column> columns;
  for (std::size_t index = 0; index < fields.size(); ++index) {
    columns.push_back(
        import_column(batch->children[index], fields[index], batch->offset, batch->length));
  }
  return columns;
}

}  // namespace elevon::arrow

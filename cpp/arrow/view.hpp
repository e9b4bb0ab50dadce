// Arrays as the kernels see them: validated on entry, typed, immutable, sharing their memory.
//
// Array is one chunk; Column is the chunks of one field. The same values stand for what came in
// by the C interface, what lies in a received message and what a kernel made: `owners` keep the
// memory alive. Arrow's rules for offsets hold unchanged: row i of an array is at offset + i of
// its buffers; row i of a struct is at offset + i of each child; list offsets count rows of the
// child; a fixed-size list's row i starts at row (offset + i) * list_size of the child.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "arrow/type.hpp"

namespace elevon::arrow {

using Owner = std::shared_ptr<const void>;

// Memory with its owner; an empty one stands for an absent buffer.
struct Memory {
  const std::byte* data = nullptr;
  std::int64_t size = 0;
  Owner owner;
};

struct Array;
using ArrayPtr = std::shared_ptr<const Array>;

struct Array {
  TypePtr type;
  std::int64_t length = 0;
  std::int64_t offset = 0;
  std::int64_t null_count = 0;                // exact, never "unknown"
  const std::uint8_t* validity = nullptr;     // nullptr: all valid, or all null (Layout::Null)
  std::array<const std::byte*, 2> buffers{};  // in the order of Layout; safe to read, never nullptr
  std::vector<std::span<const std::byte>> data_buffers;  // of Layout::Views
  std::vector<ArrayPtr> children;
  ArrayPtr dictionary;  // the same for all chunks of an imported column
  std::vector<Owner> owners;

  [[nodiscard]] bool is_valid(std::int64_t row) const {
    if (validity == nullptr) return null_count == 0;
    const std::int64_t at = offset + row;
    return ((validity[at >> 3] >> (at & 7)) & 1) != 0;
  }
  [[nodiscard]] bool bit(std::int64_t row) const {  // Layout::Bits
    const std::int64_t at = offset + row;
    return ((std::to_integer<unsigned>(buffers[0][at >> 3]) >> (at & 7)) & 1U) != 0;
  }
  // The values (Fixed), indices (Dictionary), offsets or views from row 0 on. What a null row
  // holds is unspecified; a null row's dictionary index may lie outside of the dictionary.
  template <typename T>
  [[nodiscard]] const T* values() const {
    return reinterpret_cast<const T*>(buffers[0]) + offset;
  }
};

// The 16 bytes of a utf8 or binary view. Short values (<= 12 bytes) lie inside.
struct View {
  std::int32_t length;
  std::array<char, 4> prefix;
  std::int32_t buffer;
  std::int32_t offset;
  static constexpr std::int32_t kInline = 12;
};
static_assert(sizeof(View) == 16);

// Reads values of a binary-like array; one class per layout, for hot loops: see visit_binary.
template <typename Offset>
class OffsetReader {
 public:
  explicit OffsetReader(const Array& array)
      : offsets_(array.values<Offset>()),
        length_(array.length),
        bytes_(reinterpret_cast<const char*>(array.buffers[1])) {}
  [[nodiscard]] std::int64_t size(std::int64_t row) const {
    return offsets_[row + 1] - offsets_[row];
  }
  // Bytes that may be read from the value's first one on: its own and what follows them.
  [[nodiscard]] std::int64_t room(std::int64_t row) const {
    return offsets_[length_] - offsets_[row];
  }
  [[nodiscard]] std::string_view operator()(std::int64_t row) const {
    return {bytes_ + offsets_[row], static_cast<std::size_t>(size(row))};
  }

 private:
  const Offset* offsets_;
  std::int64_t length_;
  const char* bytes_;
};

class ViewReader {
 public:
  explicit ViewReader(const Array& array)
      : views_(array.values<View>()), data_(array.data_buffers.data()) {}
  [[nodiscard]] std::int64_t size(std::int64_t row) const { return views_[row].length; }
  [[nodiscard]] std::int64_t room(std::int64_t row) const { return size(row); }
  [[nodiscard]] std::string_view operator()(std::int64_t row) const {
    const View& view = views_[row];
    const char* start =
        view.length <= View::kInline
            ? view.prefix.data()
            : reinterpret_cast<const char*>(data_[view.buffer].data()) + view.offset;
    return {start, static_cast<std::size_t>(view.length)};
  }

 private:
  const View* views_;
  const std::span<const std::byte>* data_;
};

class FixedReader {
 public:
  explicit FixedReader(const Array& array)
      : width_(array.type->width),
        length_(array.length),
        bytes_(reinterpret_cast<const char*>(array.buffers[0]) + array.offset * width_) {}
  [[nodiscard]] std::int64_t size(std::int64_t) const { return width_; }
  [[nodiscard]] std::int64_t room(std::int64_t row) const { return (length_ - row) * width_; }
  [[nodiscard]] std::string_view operator()(std::int64_t row) const {
    return {bytes_ + row * width_, static_cast<std::size_t>(width_)};
  }

 private:
  std::int64_t width_;
  std::int64_t length_;
  const char* bytes_;
};

// Calls f(reader) with the reader for utf8, binary (all three layouts) or fixed-width bytes.
// What a null row reads is unspecified, but safe. Requires length > 0.
template <typename F>
decltype(auto) visit_binary(const Array& array, F&& f) {
  switch (array.type->layout) {
    case Layout::Offsets32: return f(OffsetReader<std::int32_t>(array));
    case Layout::Offsets64: return f(OffsetReader<std::int64_t>(array));
    case Layout::Views: return f(ViewReader(array));
    default: return f(FixedReader(array));
  }
}

// The chunks of one field. Invariants: no chunk is empty; all chunks have the field's type; all
// dictionaries (nested ones too) are one and the same array, so indices compare across chunks.
class Column {
 public:
  Column() = default;
  // Drops empty chunks and unifies dictionaries. Throws std::invalid_argument where a unified
  // dictionary outgrows its index type.
  Column(Field field, std::vector<ArrayPtr> chunks);

  [[nodiscard]] const Field& field() const { return field_; }
  [[nodiscard]] const Type& type() const { return *field_.type; }
  [[nodiscard]] const std::vector<ArrayPtr>& chunks() const { return chunks_; }
  // First row of each chunk, and the length at the end: chunks().size() + 1 entries.
  [[nodiscard]] const std::vector<std::int64_t>& starts() const { return starts_; }
  [[nodiscard]] std::int64_t length() const { return starts_.back(); }
  [[nodiscard]] std::int64_t null_count() const { return null_count_; }
  // The one dictionary (Layout::Dictionary); an empty array of its type where no rows are.
  [[nodiscard]] const ArrayPtr& dictionary() const { return dictionary_; }
  [[nodiscard]] Column renamed(std::string name) const;

 private:
  Field field_;
  std::vector<ArrayPtr> chunks_;
  std::vector<std::int64_t> starts_{0};
  std::int64_t null_count_ = 0;
  ArrayPtr dictionary_;
};

// Rows [start, start + length) of an array; nothing is copied.
[[nodiscard]] ArrayPtr slice(const ArrayPtr& array, std::int64_t start, std::int64_t length);

// One column with the rows of all, in order, under the first one's field; dictionaries are
// unified. Throws std::invalid_argument if the types are not the same.
[[nodiscard]] Column concat(std::span<const Column> columns);

// An array of no rows.
[[nodiscard]] ArrayPtr empty_array(const TypePtr& type);

// True if a dictionary occurs anywhere in the type.
[[nodiscard]] bool has_dictionary(const Type& type);

// Arrays that a kernel made, without children. A null_count of 0 drops the bitmap; every buffer
// starts at row 0. Layout::Views takes the views first, then the data buffers.
[[nodiscard]] ArrayPtr make_array(TypePtr type, std::int64_t length, std::int64_t null_count,
                                  Memory validity, std::vector<Memory> buffers);

}  // namespace elevon::arrow

// Checks what an array's buffers contain, so that kernels may index without checks.

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "arrow/import.hpp"
#include "arrow/memory.hpp"
#include "arrow/table.hpp"

namespace elevon::arrow {
namespace {

[[noreturn]] void malformed(const Array& array, const char* what) {
  throw std::invalid_argument("malformed Arrow array of " + describe(*array.type) + ": " + what);
}

// Offsets start at or above zero and never descend. Branch-free, so that it costs one read.
template <typename Offset>
void check_offsets(const Array& array) {
  const auto* offsets = array.values<Offset>();
  bool bad = offsets[0] < 0;
  for (std::int64_t row = 0; row < array.length; ++row) bad |= offsets[row] > offsets[row + 1];
  if (bad) malformed(array, "its offsets descend");
}

template <typename Offset>
void check_list(const Array& array) {
  check_offsets<Offset>(array);
  if (array.values<Offset>()[array.length] > array.children[0]->length) {
    malformed(array, "an offset lies behind its values");
  }
}

template <typename Offset>
void check_list_views(const Array& array) {
  const auto* offsets = array.values<Offset>();
  const auto* sizes = reinterpret_cast<const Offset*>(array.buffers[1]) + array.offset;
  const std::int64_t limit = array.children[0]->length;
  bool bad = false;
  for (std::int64_t row = 0; row < array.length; ++row) {
    bad |= offsets[row] < 0 || sizes[row] < 0 || offsets[row] > limit - sizes[row];
  }
  if (bad) malformed(array, "a list lies outside of its values");
}

bool safe_view(const Array& array, std::int64_t row) {
  const View& view = array.values<View>()[row];
  if (view.length >= 0 && view.length <= View::kInline) return true;
  if (view.length < 0 || view.offset < 0 || view.buffer < 0) return false;
  const auto buffer = static_cast<std::size_t>(view.buffer);
  return buffer < array.data_buffers.size() &&
         std::int64_t{view.offset} + view.length <= std::ssize(array.data_buffers[buffer]);
}

void check_views(const Array& array) {
  for (std::int64_t row = 0; row < array.length; ++row) {
    if (!safe_view(array, row)) malformed(array, "a view lies outside of its buffers");
  }
}

// Negative indices are huge when read without sign, so one comparison finds both faults.
template <typename Index>
void check_indices(const Array& array) {
  const auto* indices = array.values<Index>();
  const auto entries = static_cast<std::uint64_t>(array.dictionary->length);
  bool bad = false;
  for (std::int64_t row = 0; row < array.length; ++row) bad |= indices[row] >= entries;
  if (!bad) return;
  for (std::int64_t row = 0; row < array.length; ++row) {
    if (array.is_valid(row) && indices[row] >= entries) {
      malformed(array, "an index lies outside of the dictionary");
    }
  }
}

void check_dictionary(const Array& array) {
  switch (array.type->width) {
    case 1: return check_indices<std::uint8_t>(array);
    case 2: return check_indices<std::uint16_t>(array);
    case 4: return check_indices<std::uint32_t>(array);
    default: return check_indices<std::uint64_t>(array);
  }
}

void check_struct(const Array& array) {
  for (const ArrayPtr& child : array.children) {
    if (child->length < array.offset + array.length) malformed(array, "a child is too short");
  }
}

void check_fixed_list(const Array& array) {
  std::int64_t needed = 0;
  if (__builtin_mul_overflow(array.offset + array.length, array.type->list_size, &needed) ||
      array.children[0]->length < needed) {
    malformed(array, "its child is too short");
  }
}

}  // namespace

void validate(const Array& array) {
  switch (array.type->layout) {
    case Layout::Null:
    case Layout::Bits:
    case Layout::Fixed: return;
    case Layout::Offsets32: return check_offsets<std::int32_t>(array);
    case Layout::Offsets64: return check_offsets<std::int64_t>(array);
    case Layout::Views: return check_views(array);
    case Layout::List32: return check_list<std::int32_t>(array);
    case Layout::List64: return check_list<std::int64_t>(array);
    case Layout::ListViews32: return check_list_views<std::int32_t>(array);
    case Layout::ListViews64: return check_list_views<std::int64_t>(array);
    case Layout::FixedList: return check_fixed_list(array);
    case Layout::Struct: return check_struct(array);
    case Layout::Dictionary: return check_dictionary(array);
  }
}

void clear_null_views(Array& array) {
  if (array.type->layout != Layout::Views || array.null_count == 0) return;
  const auto unsafe = [&](std::int64_t row) {
    return !array.is_valid(row) && !safe_view(array, row);
  };
  std::int64_t row = 0;
  while (row < array.length && !unsafe(row)) ++row;
  if (row == array.length) return;
  const std::int64_t bytes = (array.offset + array.length) * std::int64_t{sizeof(View)};
  Writable copy = allocate(bytes);
  std::memcpy(copy.data, array.buffers[0], static_cast<std::size_t>(bytes));
  for (; row < array.length; ++row) {
    std::byte* view = copy.data + (array.offset + row) * std::int64_t{sizeof(View)};
    if (unsafe(row)) std::memset(view, 0, sizeof(View));
  }
  array.buffers[0] = copy.data;
  array.owners.push_back(copy.memory.owner);
}

}  // namespace elevon::arrow

// Moves offsets and strings of slices.

#include "kernel/exchange/pack_bytes.hpp"

#include <cstring>

#include "kernel/exchange/message.hpp"

namespace elevon::kernel {
namespace {

using arrow::ArrayPtr;
using arrow::View;

template <typename Offset>
std::int64_t span_of(const arrow::Array& array) {
  if (array.length == 0) return 0;
  const Offset* offsets = array.values<Offset>();
  return std::int64_t{offsets[array.length]} - offsets[0];
}

bool is_long(const arrow::Array& array, std::int64_t row) {
  return array.values<View>()[row].length > View::kInline && array.is_valid(row);
}

}  // namespace

template <typename Offset>
std::int64_t spanned(const std::vector<ArrayPtr>& pieces) {
  std::int64_t total = 0;
  for (const ArrayPtr& piece : pieces) total += span_of<Offset>(*piece);
  return total;
}

template <typename Offset>
void fill_rebased(const std::vector<ArrayPtr>& pieces, std::byte* out) {
  auto* target = reinterpret_cast<Offset*>(out);
  std::int64_t base = 0;
  bool any = false;
  for (const ArrayPtr& piece : pieces) {
    if (piece->length == 0) continue;
    any = true;
    const Offset* offsets = piece->values<Offset>();
    const std::int64_t shift = base - offsets[0];
    for (std::int64_t row = 0; row < piece->length; ++row) {
      target[row] = static_cast<Offset>(offsets[row] + shift);
    }
    target += piece->length;
    base += span_of<Offset>(*piece);
  }
  if (any) *target = static_cast<Offset>(base);
}

template <typename Offset>
void fill_bytes(const std::vector<ArrayPtr>& pieces, std::byte* out) {
  for (const ArrayPtr& piece : pieces) {
    const std::int64_t bytes = span_of<Offset>(*piece);
    if (bytes == 0) continue;
    std::memcpy(out, piece->buffers[1] + piece->values<Offset>()[0],
                static_cast<std::size_t>(bytes));
    out += bytes;
  }
}

template std::int64_t spanned<std::int32_t>(const std::vector<ArrayPtr>&);
template std::int64_t spanned<std::int64_t>(const std::vector<ArrayPtr>&);
template void fill_rebased<std::int32_t>(const std::vector<ArrayPtr>&, std::byte*);
template void fill_rebased<std::int64_t>(const std::vector<ArrayPtr>&, std::byte*);
template void fill_bytes<std::int32_t>(const std::vector<ArrayPtr>&, std::byte*);
template void fill_bytes<std::int64_t>(const std::vector<ArrayPtr>&, std::byte*);

std::int64_t long_bytes(const std::vector<ArrayPtr>& pieces) {
  std::int64_t bytes = 0;
  for (const ArrayPtr& piece : pieces) {
    for (std::int64_t row = 0; row < piece->length; ++row) {
      if (is_long(*piece, row)) bytes += piece->values<View>()[row].length;
    }
  }
  return bytes;
}

View placed_view(const View& view, std::int64_t position) {
  View placed = view;
  placed.buffer = static_cast<std::int32_t>(position / kViewStride);
  placed.offset = static_cast<std::int32_t>(position % kViewStride);
  return placed;
}

void fill_views(const std::vector<ArrayPtr>& pieces, std::byte* out) {
  auto* target = reinterpret_cast<View*>(out);
  std::int64_t position = 0;
  for (const ArrayPtr& piece : pieces) {
    const View* views = piece->values<View>();
    for (std::int64_t row = 0; row < piece->length; ++row, ++target) {
      *target = piece->is_valid(row) ? views[row] : View{};
      if (!is_long(*piece, row)) continue;
      *target = placed_view(views[row], position);
      position += views[row].length;
    }
  }
}

void fill_long_bytes(const std::vector<ArrayPtr>& pieces, std::byte* out) {
  for (const ArrayPtr& piece : pieces) {
    const arrow::ViewReader read(*piece);
    for (std::int64_t row = 0; row < piece->length; ++row) {
      if (!is_long(*piece, row)) continue;
      std::memcpy(out, read(row).data(), static_cast<std::size_t>(read.size(row)));
      out += read.size(row);
    }
  }
}

}  // namespace elevon::kernel

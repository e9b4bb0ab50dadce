// Gathers lists, fixed-size lists and structs: rows of the parent become rows of the children.

#include <memory>
#include <utility>

#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Layout;

// Rows [begin, begin + size) of a chunk's child.
struct Span {
  std::int64_t begin;
  std::int64_t size;
};

template <typename Offset>
struct ListSpan {
  Span operator()(const Array& chunk, std::int64_t row) const {
    const Offset* offsets = chunk.values<Offset>();
    return {offsets[row], offsets[row + 1] - offsets[row]};
  }
};

template <typename Offset>
struct ListViewSpan {
  Span operator()(const Array& chunk, std::int64_t row) const {
    const auto* sizes = reinterpret_cast<const Offset*>(chunk.buffers[1]) + chunk.offset;
    return {chunk.values<Offset>()[row], sizes[row]};
  }
};

// The children number `child` of all chunks; `cut` chooses their rows.
template <typename Cut>
Source child_source(const Source& source, std::size_t child, Cut&& cut) {
  std::vector<ArrayPtr> chunks;
  for (const auto& chunk : source.chunks()) chunks.push_back(cut(*chunk, chunk->children[child]));
  return {source.type().children[child].type, std::move(chunks)};
}

ArrayPtr with_children(const Source& source, const Rows& rows, int threads,
                       std::vector<arrow::Memory> buffers, std::vector<ArrayPtr> children) {
  Validity validity = gather_validity(source, rows, threads);
  auto result =
      std::make_shared<Array>(*make_array(source.type_ptr(), rows.size(), validity.null_count,
                                          std::move(validity.bits), std::move(buffers)));
  result->children = std::move(children);
  return result;
}

// The child rows of every gathered list, one list after the other.
template <typename Offset, typename SpanOf, typename Number, typename Locate>
OwnedArray<std::int64_t> expand_lists(const Source& source, const Source& child,
                                      const Number* numbers, const Locate& locate,
                                      std::int64_t rows, int threads, OwnedArray<Offset>& offsets,
                                      const SpanOf& span_of) {
  const auto size_of = [&](std::int64_t row) -> std::int64_t {
    if (is_missing(numbers[row])) return 0;
    const Place place = locate(static_cast<std::int64_t>(numbers[row]));
    return span_of(*source.chunks()[place.chunk], place.row).size;
  };
  OwnedArray<std::int64_t> values(fill_offsets(offsets, rows, threads, size_of));
  parallel(threads, [&](int worker) {
    const Range part = part_of(rows, threads, worker);
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      if (is_missing(numbers[row])) continue;
      const Place place = locate(static_cast<std::int64_t>(numbers[row]));
      std::int64_t value =
          child.starts()[place.chunk] + span_of(*source.chunks()[place.chunk], place.row).begin;
      for (std::int64_t at = offsets[row]; at < offsets[row + 1]; ++at) values[at] = value++;
    }
  });
  return values;
}

// A list view's sizes, once its offsets are known.
template <typename Offset>
arrow::Memory sizes_of(const OwnedArray<Offset>& offsets, std::int64_t rows) {
  OwnedArray<Offset> sizes(rows);
  for (std::int64_t row = 0; row < rows; ++row) sizes[row] = offsets[row + 1] - offsets[row];
  return share(std::move(sizes));
}

template <typename Offset, typename SpanOf>
ArrayPtr gather_lists(const Source& source, const Rows& rows, int threads, bool views,
                      const SpanOf& span_of) {
  const Source child =
      child_source(source, 0, [](const Array&, const ArrayPtr& values) { return values; });
  OwnedArray<Offset> offsets(rows.size() + 1);
  const OwnedArray<std::int64_t> values =
      visit_rows(source, rows, [&](const auto* numbers, const auto& locate) {
        return expand_lists(source, child, numbers, locate, rows.size(), threads, offsets, span_of);
      });
  std::vector<arrow::Memory> buffers(1);
  if (views) buffers.push_back(sizes_of(offsets, rows.size()));
  buffers[0] = share(std::move(offsets));
  ArrayPtr items = gather_array(child, Rows(values.span()), threads);
  return with_children(source, rows, threads, std::move(buffers), {std::move(items)});
}

ArrayPtr gather_fixed_lists(const Source& source, const Rows& rows, int threads) {
  const std::int64_t size = source.type().list_size;
  const Source child = child_source(source, 0, [&](const Array& chunk, const ArrayPtr& values) {
    return slice(values, chunk.offset * size, chunk.length * size);
  });
  OwnedArray<std::int64_t> values(rows.size() * size);
  rows.visit([&](const auto* numbers) {
    for (std::int64_t row = 0; row < rows.size(); ++row) {
      const bool missing = is_missing(numbers[row]);
      const std::int64_t first = static_cast<std::int64_t>(numbers[row]) * size;
      for (std::int64_t at = 0; at < size; ++at) {
        values[row * size + at] = missing ? kNoRow64 : first + at;
      }
    }
  });
  ArrayPtr items = gather_array(child, Rows(values.span(), rows.may_miss()), threads);
  return with_children(source, rows, threads, {}, {std::move(items)});
}

ArrayPtr gather_structs(const Source& source, const Rows& rows, int threads) {
  std::vector<ArrayPtr> children;
  for (std::size_t index = 0; index < source.type().children.size(); ++index) {
    const Source child =
        child_source(source, index, [](const Array& chunk, const ArrayPtr& values) {
          return slice(values, chunk.offset, chunk.length);
        });
    children.push_back(gather_array(child, rows, threads));
  }
  return with_children(source, rows, threads, {}, std::move(children));
}

}  // namespace

ArrayPtr gather_nested(const Source& source, const Rows& rows, int threads) {
  using Narrow = std::int32_t;
  using Large = std::int64_t;
  switch (source.type().layout) {
    case Layout::List32:
      return gather_lists<Narrow>(source, rows, threads, false, ListSpan<Narrow>{});
    case Layout::List64:
      return gather_lists<Large>(source, rows, threads, false, ListSpan<Large>{});
    case Layout::ListViews32:
      return gather_lists<Narrow>(source, rows, threads, true, ListViewSpan<Narrow>{});
    case Layout::ListViews64:
      return gather_lists<Large>(source, rows, threads, true, ListViewSpan<Large>{});
    case Layout::FixedList: return gather_fixed_lists(source, rows, threads);
    default: return gather_structs(source, rows, threads);
  }
}

}  // namespace elevon::kernel

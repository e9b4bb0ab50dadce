// Cuts away what rows do not use.

#include "kernel/exchange/compact.hpp"

#include <memory>
#include <utility>

#include "kernel/base/buffer.hpp"
#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Layout;
using Pieces = std::vector<ArrayPtr>;

template <typename Offset>
ArrayPtr list_values(const Array& list) {
  const Offset* offsets = list.values<Offset>();
  const std::int64_t size = list.length == 0 ? 0 : offsets[list.length] - offsets[0];
  return slice(list.children[0], list.length == 0 ? 0 : offsets[0], size);
}

ArrayPtr child_rows(const Array& parent, std::size_t index) {
  const std::int64_t size = parent.type->list_size;
  switch (parent.type->layout) {
    case Layout::List32: return list_values<std::int32_t>(parent);
    case Layout::List64: return list_values<std::int64_t>(parent);
    case Layout::FixedList:
      return slice(parent.children[0], parent.offset * size, parent.length * size);
    case Layout::Struct: return slice(parent.children[index], parent.offset, parent.length);
    default: return parent.children[index];  // list views were compacted
  }
}

// Entry numbers in use, ascending, so that entries keep their order, and what each becomes.
struct Usage {
  std::vector<std::int64_t> used;
  std::vector<std::int64_t> mapping;
};

template <typename Index>
void mark_used(const Array& piece, Usage& usage) {
  const Index* indices = piece.values<Index>();
  for (std::int64_t row = 0; row < piece.length; ++row) {
    if (!piece.is_valid(row)) continue;
    usage.mapping[static_cast<std::size_t>(indices[row])] = 1;
  }
}

void number_used(Usage& usage) {
  for (std::size_t entry = 0; entry < usage.mapping.size(); ++entry) {
    if (usage.mapping[entry] == 0) continue;
    usage.mapping[entry] = std::ssize(usage.used);
    usage.used.push_back(static_cast<std::int64_t>(entry));
  }
}

template <typename Index>
void write_indices(const Array& piece, const Usage& usage, std::byte* out) {
  const Index* indices = piece.values<Index>();
  auto* target = reinterpret_cast<Index*>(out);
  for (std::int64_t row = 0; row < piece.length; ++row) {
    target[row] = piece.is_valid(row)
                      ? static_cast<Index>(usage.mapping[static_cast<std::size_t>(indices[row])])
                      : Index{0};
  }
}

// Calls f with a zero of the index type: indices were checked, so their sign does not matter.
template <typename F>
void visit_index(const arrow::Type& type, F&& f) {
  switch (type.width) {
    case 1: return f(std::uint8_t{});
    case 2: return f(std::uint16_t{});
    case 4: return f(std::uint32_t{});
    default: return f(std::uint64_t{});
  }
}

// The piece with indices into `dictionary`; they keep the array's offset, as its bitmap does.
ArrayPtr with_entries(const ArrayPtr& piece, const Usage& usage, const ArrayPtr& dictionary) {
  const std::int64_t width = piece->type->width;
  Buffer indices((piece->offset + piece->length) * width);
  visit_index(*piece->type, [&](auto zero) {
    write_indices<decltype(zero)>(*piece, usage, indices.data() + piece->offset * width);
  });
  auto result = std::make_shared<Array>(*piece);
  const arrow::Memory memory = share(std::move(indices));
  result->buffers[0] = memory.data;
  result->owners.push_back(memory.owner);
  result->dictionary = dictionary;
  return result;
}

}  // namespace

std::int64_t total_length(const Pieces& pieces) {
  std::int64_t length = 0;
  for (const ArrayPtr& piece : pieces) length += piece->length;
  return length;
}

std::int64_t total_nulls(const Pieces& pieces) {
  std::int64_t nulls = 0;
  for (const ArrayPtr& piece : pieces) nulls += piece->null_count;
  return nulls;
}

Pieces children_of(const Pieces& pieces, std::size_t index) {
  Pieces children;
  for (const ArrayPtr& piece : pieces) children.push_back(child_rows(*piece, index));
  return children;
}

ArrayPtr compact_list_views(const arrow::TypePtr& type, const Pieces& pieces) {
  if (pieces.empty()) return arrow::empty_array(type);
  const std::int64_t length = total_length(pieces);
  OwnedArray<std::int64_t> rows(length);
  for (std::int64_t row = 0; row < length; ++row) rows[row] = row;
  return gather_array(Source(type, pieces), Rows(rows.span()), 1);
}

Pieces compact_dictionaries(Pieces pieces) {
  if (pieces.empty()) return pieces;
  const ArrayPtr dictionary = pieces.front()->dictionary;
  Usage usage;
  usage.mapping.assign(static_cast<std::size_t>(dictionary->length), 0);
  for (const ArrayPtr& piece : pieces) {
    visit_index(*piece->type, [&](auto zero) { mark_used<decltype(zero)>(*piece, usage); });
  }
  number_used(usage);
  const ArrayPtr entries =
      gather_array(Source(dictionary->type, {dictionary}), Rows(usage.used), 1);
  for (ArrayPtr& piece : pieces) piece = with_entries(piece, usage, entries);
  return pieces;
}

}  // namespace elevon::kernel

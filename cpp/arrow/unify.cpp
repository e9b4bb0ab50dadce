// Unifies the dictionaries of a column's chunks.

#include "arrow/unify.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string_view>
#include <unordered_map>

#include "arrow/memory.hpp"

namespace elevon::arrow {
namespace {

bool same_memory(const Array& left, const Array& right) {
  return left.length == right.length && left.offset == right.offset &&
         left.buffers == right.buffers && left.validity == right.validity &&
         left.children.empty() && right.children.empty() && left.type->layout != Layout::Views;
}

// The bytes of one value; bools as one byte.
std::string_view value_at(const Array& array, std::int64_t row) {
  if (array.type->layout == Layout::Bits) return array.bit(row) ? "1" : "0";
  return visit_binary(array, [&](const auto& reader) { return reader(row); });
}

bool comparable(const Type& type) {
  return type.layout == Layout::Bits || type.layout == Layout::Fixed || type.is_binary();
}

bool same_values(const Array& left, const Array& right) {
  if (&left == &right || same_memory(left, right)) return true;
  if (!comparable(*left.type) || left.length != right.length) return false;
  for (std::int64_t row = 0; row < left.length; ++row) {
    if (left.is_valid(row) != right.is_valid(row)) return false;
    if (left.is_valid(row) && value_at(left, row) != value_at(right, row)) return false;
  }
  return true;
}

// The union of dictionaries as it grows: where each value lies, and what each old index becomes.
class Union {
 public:
  explicit Union(TypePtr type) : type_(std::move(type)) {}

  // New indices of the dictionary's entries.
  std::vector<std::int64_t> add(const Array& dictionary) {
    std::vector<std::int64_t> mapping;
    mapping.reserve(static_cast<std::size_t>(dictionary.length));
    for (std::int64_t row = 0; row < dictionary.length; ++row) {
      mapping.push_back(dictionary.is_valid(row) ? add_value(value_at(dictionary, row))
                                                 : add_null());
    }
    return mapping;
  }

  [[nodiscard]] std::int64_t size() const { return static_cast<std::int64_t>(values_.size()); }
  [[nodiscard]] ArrayPtr build() const;

 private:
  std::int64_t add_value(std::string_view value) {
    const auto [at, fresh] = indices_.try_emplace(value, size());
    if (fresh) values_.push_back(value);
    return at->second;
  }
  std::int64_t add_null() {
    if (null_index_ < 0) {
      null_index_ = size();
      values_.emplace_back();
    }
    return null_index_;
  }
  [[nodiscard]] Memory validity() const;
  [[nodiscard]] std::vector<Memory> fixed_buffers() const;
  [[nodiscard]] std::vector<Memory> bit_buffers() const;
  template <typename Offset>
  [[nodiscard]] std::vector<Memory> offset_buffers() const;
  [[nodiscard]] std::vector<Memory> view_buffers() const;
  [[nodiscard]] std::vector<Memory> buffers() const;

  TypePtr type_;
  std::vector<std::string_view> values_;  // into the old dictionaries
  std::unordered_map<std::string_view, std::int64_t> indices_;
  std::int64_t null_index_ = -1;
};

void set_bit(std::byte* bits, std::int64_t at) {
  bits[at >> 3] |= static_cast<std::byte>(1 << (at & 7));
}

Memory Union::validity() const {
  if (null_index_ < 0) return {};
  const std::int64_t bytes = size() / 8 + 1;
  Writable bits = allocate(bytes);
  std::memset(bits.data, 0xFF, static_cast<std::size_t>(bytes));
  bits.data[null_index_ >> 3] &= ~static_cast<std::byte>(1 << (null_index_ & 7));
  return bits.memory;
}

std::vector<Memory> Union::fixed_buffers() const {
  const auto width = static_cast<std::size_t>(type_->width);
  Writable out = allocate(size() * type_->width);
  for (std::size_t index = 0; index < values_.size(); ++index) {
    std::byte* target = out.data + index * width;
    std::memset(target, 0, width);
    if (!values_[index].empty()) std::memcpy(target, values_[index].data(), width);
  }
  return {out.memory};
}

std::vector<Memory> Union::bit_buffers() const {
  Writable out = allocate(8);  // true, false and null at most
  std::memset(out.data, 0, 8);
  for (std::int64_t index = 0; index < size(); ++index) {
    if (values_[static_cast<std::size_t>(index)] == "1") set_bit(out.data, index);
  }
  return {out.memory};
}

std::int64_t total_size(const std::vector<std::string_view>& values, std::size_t from = 0) {
  std::int64_t total = 0;
  for (const std::string_view value : values) {
    if (value.size() > from) total += static_cast<std::int64_t>(value.size());
  }
  return total;
}

template <typename Offset>
std::vector<Memory> Union::offset_buffers() const {
  const std::int64_t total = total_size(values_);
  if (total > std::numeric_limits<Offset>::max()) {
    throw std::invalid_argument("the chunks' dictionaries together outgrow 32-bit offsets");
  }
  Writable offsets = allocate((size() + 1) * static_cast<std::int64_t>(sizeof(Offset)));
  Writable bytes = allocate(total);
  auto* offset = reinterpret_cast<Offset*>(offsets.data);
  *offset = 0;
  for (const std::string_view value : values_) {
    std::ranges::copy(std::as_bytes(std::span(value)), bytes.data + *offset);
    offset[1] = static_cast<Offset>(*offset + static_cast<Offset>(value.size()));
    ++offset;
  }
  return {offsets.memory, bytes.memory};
}

// One data buffer per long value would be legal too, but some consumers then slow down badly; one
// buffer is addressed by 31 bits.
std::vector<Memory> Union::view_buffers() const {
  const std::int64_t total = total_size(values_, View::kInline);
  if (total > std::numeric_limits<std::int32_t>::max()) {
    throw std::invalid_argument("the chunks' dictionaries together outgrow one view buffer");
  }
  Writable views = allocate(size() * static_cast<std::int64_t>(sizeof(View)));
  Writable bytes = allocate(total);
  std::int32_t used = 0;
  for (std::size_t index = 0; index < values_.size(); ++index) {
    const std::string_view value = values_[index];
    View view{static_cast<std::int32_t>(value.size()), {}, 0, 0};
    std::byte* target = views.data + index * sizeof(View);
    std::memcpy(target, &view, sizeof view);
    if (value.size() <= View::kInline) {
      std::ranges::copy(std::as_bytes(std::span(value)), target + 4);
      continue;
    }
    view.offset = used;
    std::memcpy(view.prefix.data(), value.data(), 4);
    std::memcpy(target, &view, sizeof view);
    std::memcpy(bytes.data + used, value.data(), value.size());
    used += view.length;
  }
  return {views.memory, bytes.memory};
}

std::vector<Memory> Union::buffers() const {
  switch (type_->layout) {
    case Layout::Bits: return bit_buffers();
    case Layout::Fixed: return fixed_buffers();
    case Layout::Offsets32: return offset_buffers<std::int32_t>();
    case Layout::Offsets64: return offset_buffers<std::int64_t>();
    default: return view_buffers();
  }
}

ArrayPtr Union::build() const {
  return make_array(type_, size(), null_index_ < 0 ? 0 : 1, validity(), buffers());
}

// The largest dictionary that an index of this type can address.
std::int64_t max_entries(const Type& type) {
  const int bits = type.width * 8 - (type.is_signed ? 1 : 0);
  return bits >= 63 ? std::numeric_limits<std::int64_t>::max() : std::int64_t{1} << bits;
}

template <typename Index>
Memory remap(const Array& chunk, const std::vector<std::int64_t>& mapping) {
  Writable out = allocate(chunk.length * static_cast<std::int64_t>(sizeof(Index)));
  auto* target = reinterpret_cast<Index*>(out.data);
  const auto* source = chunk.values<Index>();
  for (std::int64_t row = 0; row < chunk.length; ++row) {
    target[row] = chunk.is_valid(row)
                      ? static_cast<Index>(mapping[static_cast<std::size_t>(source[row])])
                      : Index{0};
  }
  return out.memory;
}

Memory remap_indices(const Array& chunk, const std::vector<std::int64_t>& mapping) {
  switch (chunk.type->width) {
    case 1: return remap<std::uint8_t>(chunk, mapping);
    case 2: return remap<std::uint16_t>(chunk, mapping);
    case 4: return remap<std::uint32_t>(chunk, mapping);
    default: return remap<std::uint64_t>(chunk, mapping);
  }
}

// The chunk over the new indices, which start at row 0: the bitmap has to be moved there too.
ArrayPtr with_indices(const Array& chunk, Memory indices, const ArrayPtr& dictionary) {
  Memory validity;
  if (chunk.validity != nullptr) {
    Writable bits = allocate(chunk.length / 8 + 1);
    std::memset(bits.data, 0, static_cast<std::size_t>(chunk.length / 8 + 1));
    for (std::int64_t row = 0; row < chunk.length; ++row) {
      if (chunk.is_valid(row)) set_bit(bits.data, row);
    }
    validity = bits.memory;
  }
  auto result = std::make_shared<Array>(
      *make_array(chunk.type, chunk.length, chunk.null_count, validity, {std::move(indices)}));
  result->dictionary = dictionary;
  return result;
}

ArrayPtr with_dictionary(const Array& chunk, const ArrayPtr& dictionary) {
  auto result = std::make_shared<Array>(chunk);
  result->dictionary = dictionary;
  return result;
}

// In which turn the chunks' entries are put together: as they come, but of ordered dictionaries the
// largest first, because the others may be parts of it.
std::vector<std::size_t> in_turn(const Type& type, const std::vector<ArrayPtr>& chunks) {
  std::vector<std::size_t> turn(chunks.size());
  std::iota(turn.begin(), turn.end(), std::size_t{0});
  if (is_ordered(type)) {
    std::ranges::stable_sort(turn, std::greater{},
                             [&](std::size_t at) { return chunks[at]->dictionary->length; });
  }
  return turn;
}

// The entries of every chunk have to come in the same order in the dictionary of all.
void check_one_order(const std::vector<std::vector<std::int64_t>>& mappings) {
  for (const auto& mapping : mappings) {
    if (!std::ranges::is_sorted(mapping)) {
      throw std::invalid_argument(
          "ordered dictionaries of different chunks put their values in different orders; cast the "
          "column to one dictionary, or to one that is not ordered");
    }
  }
}

std::vector<ArrayPtr> merge_dictionaries(const Type& type, const std::vector<ArrayPtr>& chunks) {
  if (!comparable(*type.dictionary)) {
    throw std::invalid_argument("chunks with different dictionaries of " +
                                describe(*type.dictionary) + " cannot be unified");
  }
  Union all(type.dictionary);
  std::vector<std::vector<std::int64_t>> mappings;
  mappings.resize(chunks.size());
  for (const std::size_t index : in_turn(type, chunks)) {
    mappings[index] = all.add(*chunks[index]->dictionary);
  }
  if (all.size() > max_entries(type)) {
    throw std::invalid_argument("the chunks' dictionaries together have " +
                                std::to_string(all.size()) +
                                " values, too many for the index type; cast the column");
  }
  if (is_ordered(type)) check_one_order(mappings);
  const ArrayPtr dictionary = all.build();
  std::vector<ArrayPtr> result;
  for (std::size_t index = 0; index < chunks.size(); ++index) {
    Memory indices = remap_indices(*chunks[index], mappings[index]);
    result.push_back(with_indices(*chunks[index], std::move(indices), dictionary));
  }
  return result;
}

std::vector<ArrayPtr> unify_indices(const Type& type, std::vector<ArrayPtr> chunks) {
  const ArrayPtr& first = chunks.front()->dictionary;
  for (const ArrayPtr& chunk : chunks) {
    if (!same_values(*first, *chunk->dictionary)) return merge_dictionaries(type, chunks);
  }
  for (ArrayPtr& chunk : chunks) {
    if (chunk->dictionary != first) chunk = with_dictionary(*chunk, first);
  }
  return chunks;
}

}  // namespace

std::vector<ArrayPtr> unify_dictionaries(const Type& type, std::vector<ArrayPtr> chunks) {
  if (chunks.size() < 2 || !has_dictionary(type)) return chunks;
  if (type.layout == Layout::Dictionary) return unify_indices(type, std::move(chunks));
  std::vector<std::shared_ptr<Array>> parents;
  for (const ArrayPtr& chunk : chunks) parents.push_back(std::make_shared<Array>(*chunk));
  for (std::size_t child = 0; child < type.children.size(); ++child) {
    std::vector<ArrayPtr> parts;
    for (const auto& parent : parents) parts.push_back(parent->children[child]);
    parts = unify_dictionaries(*type.children[child].type, std::move(parts));
    for (std::size_t at = 0; at < parents.size(); ++at) parents[at]->children[child] = parts[at];
  }
  return {parents.begin(), parents.end()};
}

}  // namespace elevon::arrow

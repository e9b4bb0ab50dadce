// Columns out of chunks, slices, and arrays that kernels made.

#include "arrow/view.hpp"

#include <stdexcept>
#include <utility>

#include "arrow/import.hpp"
#include "arrow/memory.hpp"
#include "arrow/unify.hpp"

namespace elevon::arrow {
namespace {

std::int64_t count_nulls(const Array& array, std::int64_t start, std::int64_t length) {
  if (array.validity == nullptr) return array.null_count == 0 ? 0 : length;
  return count_zeros(array.validity, array.offset + start, length);
}

ArrayPtr first_dictionary(const Field& field, const std::vector<ArrayPtr>& chunks) {
  if (field.type->layout != Layout::Dictionary) return nullptr;
  return chunks.empty() ? empty_array(field.type->dictionary) : chunks.front()->dictionary;
}

}  // namespace

Column::Column(Field field, std::vector<ArrayPtr> chunks) : field_(std::move(field)) {
  dictionary_ = first_dictionary(field_, chunks);
  std::erase_if(chunks, [](const ArrayPtr& chunk) { return chunk->length == 0; });
  chunks_ = unify_dictionaries(*field_.type, std::move(chunks));
  for (const ArrayPtr& chunk : chunks_) {
    starts_.push_back(starts_.back() + chunk->length);
    null_count_ += chunk->null_count;
  }
  if (!chunks_.empty() && dictionary_) dictionary_ = chunks_.front()->dictionary;
  field_.nullable = field_.nullable || null_count_ > 0;
}

Column Column::renamed(std::string name) const {
  Column result = *this;
  result.field_.name = std::move(name);
  return result;
}

ArrayPtr slice(const ArrayPtr& array, std::int64_t start, std::int64_t length) {
  if (start == 0 && length == array->length) return array;
  auto part = std::make_shared<Array>(*array);
  part->offset += start;
  part->length = length;
  part->null_count = count_nulls(*array, start, length);
  if (part->null_count == 0) part->validity = nullptr;
  return part;
}

Column concat(std::span<const Column> columns) {
  Field field = columns.front().field();
  std::vector<ArrayPtr> chunks;
  for (const Column& column : columns) {
    if (!same_type(column.type(), *field.type)) {
      throw std::invalid_argument("cannot concatenate " + describe(*field.type) + " and " +
                                  describe(column.type()));
    }
    field.nullable = field.nullable || column.field().nullable;
    chunks.insert(chunks.end(), column.chunks().begin(), column.chunks().end());
  }
  return {std::move(field), std::move(chunks)};
}

ArrayPtr empty_array(const TypePtr& type) {
  auto array = std::make_shared<Array>();
  array->type = type;
  array->buffers = {kNothing, kNothing};
  for (const Field& child : type->children) array->children.push_back(empty_array(child.type));
  if (type->layout == Layout::Dictionary) array->dictionary = empty_array(type->dictionary);
  return array;
}

bool has_dictionary(const Type& type) {
  if (type.layout == Layout::Dictionary) return true;
  for (const Field& child : type.children) {
    if (has_dictionary(*child.type)) return true;
  }
  return false;
}

ArrayPtr make_array(TypePtr type, std::int64_t length, std::int64_t null_count, Memory validity,
                    std::vector<Memory> buffers) {
  auto array = std::make_shared<Array>();
  array->type = std::move(type);
  array->length = length;
  array->null_count = null_count;
  array->buffers = {kNothing, kNothing};
  if (null_count > 0 && validity.data != nullptr) {
    array->validity = reinterpret_cast<const std::uint8_t*>(validity.data);
    array->owners.push_back(std::move(validity.owner));
  }
  const bool views = array->type->layout == Layout::Views;
  for (std::size_t index = 0; index < buffers.size(); ++index) {
    Memory& buffer = buffers[index];
    if (views && index > 0) {
      array->data_buffers.emplace_back(buffer.data, static_cast<std::size_t>(buffer.size));
    } else if (buffer.data != nullptr) {
      array->buffers[index] = buffer.data;
    }
    if (buffer.owner) array->owners.push_back(std::move(buffer.owner));
  }
  return array;
}

}  // namespace elevon::arrow

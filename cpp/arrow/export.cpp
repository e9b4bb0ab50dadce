// Hands tables out as Arrow C streams.

#include <algorithm>
#include <cerrno>
#include <memory>
#include <new>
#include <utility>

#include "arrow/table.hpp"

namespace elevon::arrow {
namespace {

// What an exported array keeps alive.
struct ArrayContent {
  ArrayPtr array;  // none for a record batch
  std::vector<const void*> buffers;
  std::vector<std::int64_t> data_sizes;  // of Layout::Views
  std::vector<UniqueArray> children;
  std::vector<ArrowArray*> pointers;
  UniqueArray dictionary;
};

void release_array(ArrowArray* array) {
  delete static_cast<ArrayContent*>(array->private_data);
  array->release = nullptr;
}

UniqueArray own_array(std::unique_ptr<ArrayContent> content, std::int64_t length,
                      std::int64_t offset, std::int64_t null_count) {
  for (UniqueArray& child : content->children) content->pointers.push_back(child.get());
  ArrowArray array{};
  array.length = length;
  array.offset = offset;
  array.null_count = null_count;
  array.n_buffers = static_cast<std::int64_t>(content->buffers.size());
  array.buffers = content->buffers.data();
  array.n_children = static_cast<std::int64_t>(content->pointers.size());
  array.children = content->pointers.data();
  array.dictionary = content->dictionary ? content->dictionary.get() : nullptr;
  array.release = release_array;
  array.private_data = content.release();
  return UniqueArray(&array);
}

std::size_t value_buffers(Layout layout) {
  switch (layout) {
    case Layout::Null:
    case Layout::FixedList:
    case Layout::Struct: return 0;
    case Layout::Offsets32:
    case Layout::Offsets64:
    case Layout::ListViews32:
    case Layout::ListViews64: return 2;
    default: return 1;
  }
}

void list_buffers(const Array& array, ArrayContent& content) {
  const Layout layout = array.type->layout;
  if (layout != Layout::Null) content.buffers.push_back(array.validity);
  for (std::size_t index = 0; index < value_buffers(layout); ++index) {
    content.buffers.push_back(array.buffers[index]);
  }
  if (layout != Layout::Views) return;
  for (const auto& data : array.data_buffers) {
    content.buffers.push_back(data.data());
    content.data_sizes.push_back(std::ssize(data));
  }
  content.buffers.push_back(content.data_sizes.data());
}

UniqueArray export_array(const ArrayPtr& array) {
  auto content = std::make_unique<ArrayContent>();
  content->array = array;
  list_buffers(*array, *content);
  for (const ArrayPtr& child : array->children) content->children.push_back(export_array(child));
  if (array->dictionary) content->dictionary = export_array(array->dictionary);
  return own_array(std::move(content), array->length, array->offset, array->null_count);
}

// Where any column's chunks end: between two cuts every column is in one chunk.
std::vector<std::int64_t> find_cuts(const Table& table) {
  std::vector<std::int64_t> cuts{0, table.num_rows()};
  for (const Column& column : table.columns()) {
    cuts.insert(cuts.end(), column.starts().begin(), column.starts().end());
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  return cuts;
}

ArrayPtr rows_of(const Column& column, std::int64_t begin, std::int64_t end) {
  const auto& starts = column.starts();
  const auto after = std::upper_bound(starts.begin(), starts.end(), begin);
  const auto chunk = static_cast<std::size_t>(after - starts.begin() - 1);
  return slice(column.chunks()[chunk], begin - starts[chunk], end - begin);
}

// An empty table is one empty batch, so that an empty categorical keeps its categories.
ArrayPtr no_rows(const Column& column) {
  auto array = std::make_shared<Array>(*empty_array(column.field().type));
  array->dictionary = column.dictionary();
  return array;
}

UniqueArray export_batch(const Table& table, std::int64_t begin, std::int64_t end) {
  auto content = std::make_unique<ArrayContent>();
  content->buffers.push_back(nullptr);
  for (const Column& column : table.columns()) {
    content->children.push_back(
        export_array(begin == end ? no_rows(column) : rows_of(column, begin, end)));
  }
  return own_array(std::move(content), end - begin, 0, 0);
}

// A stream's state: the table and how far it was read.
struct StreamContent {
  Table table;
  std::vector<std::int64_t> cuts;
  std::size_t next = 0;
};

StreamContent& content_of(ArrowArrayStream* stream) {
  return *static_cast<StreamContent*>(stream->private_data);
}

int stream_schema(ArrowArrayStream* stream, ArrowSchema* out) {
  try {
    std::vector<Field> fields;
    for (const Column& column : content_of(stream).table.columns()) {
      fields.push_back(column.field());
    }
    export_schema(fields).move_to(out);
    return 0;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

int stream_next(ArrowArrayStream* stream, ArrowArray* out) {
  try {
    StreamContent& content = content_of(stream);
    *out = ArrowArray{};
    const bool empty = content.cuts.size() == 1 && content.next == 0;
    if (!empty && content.next + 1 >= content.cuts.size()) return 0;
    const std::int64_t begin = content.cuts[content.next];
    const std::int64_t end = empty ? begin : content.cuts[content.next + 1];
    export_batch(content.table, begin, end).move_to(out);
    ++content.next;
    return 0;
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

// Only memory can fail here, and ENOMEM says so.
const char* stream_error(ArrowArrayStream* /*stream*/) {
  return nullptr;
}

void release_stream(ArrowArrayStream* stream) {
  delete static_cast<StreamContent*>(stream->private_data);
  stream->release = nullptr;
}

}  // namespace

UniqueStream export_stream(const Table& table) {
  auto content = std::make_unique<StreamContent>(StreamContent{table, find_cuts(table)});
  ArrowArrayStream stream{stream_schema, stream_next, stream_error, release_stream,
                          content.release()};
  return UniqueStream(&stream);
}

UniqueSchema export_schema(const std::vector<Field>& fields) {
  Type type;
  type.kind = Kind::Struct;
  type.layout = Layout::Struct;
  type.format = "+s";
  type.children = fields;
  return export_field({"", std::make_shared<const Type>(std::move(type)), false, ""});
}

}  // namespace elevon::arrow

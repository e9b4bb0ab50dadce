// Tables from streams and arrays.

#include "arrow/table.hpp"

#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "arrow/import.hpp"

namespace elevon::arrow {
namespace {

// What the producer says about its failure, as an exception.
void check_stream(UniqueStream& stream, int code, const char* step) {
  if (code == 0) return;
  if (code == ENOMEM) throw std::bad_alloc();
  const char* reason = stream->get_last_error(stream.get());
  throw std::invalid_argument(std::string("the Arrow stream failed at its ") + step + ": " +
                              (reason != nullptr ? reason : std::strerror(code)));
}

UniqueSchema read_schema(UniqueStream& stream) {
  if (!stream) throw std::invalid_argument("the Arrow stream was consumed already");
  UniqueSchema schema;
  check_stream(stream, stream->get_schema(stream.get(), schema.get()), "schema");
  if (!schema) throw std::invalid_argument("the Arrow stream has no schema");
  return schema;
}

// An empty one ends the stream.
UniqueArray read_batch(UniqueStream& stream) {
  UniqueArray batch;
  check_stream(stream, stream->get_next(stream.get(), batch.get()), "next batch");
  return batch;
}

std::vector<Field> table_fields(const Field& top) {
  return top.type->layout == Layout::Struct ? top.type->children : std::vector<Field>{top};
}

// Collects batches, column by column.
class TableReader {
 public:
  explicit TableReader(const ArrowSchema& schema)
      : top_(parse_field(schema)), fields_(table_fields(top_)), chunks_(fields_.size()) {}

  void add(UniqueArray batch) {
    std::int64_t length = 0;
    const std::vector<Column> columns = import_batch(fields_, top_.type, std::move(batch), length);
    num_rows_ += length;
    for (std::size_t index = 0; index < columns.size(); ++index) {
      keep(chunks_[index], columns[index]);
    }
  }

  Table finish() && {
    std::vector<Column> columns;
    for (std::size_t index = 0; index < fields_.size(); ++index) {
      columns.emplace_back(std::move(fields_[index]), std::move(chunks_[index]));
    }
    return {std::move(columns), num_rows_};
  }

 private:
  // An empty chunk is kept for its dictionary only: an empty categorical has its categories.
  static void keep(std::vector<ArrayPtr>& chunks, const Column& column) {
    if (!column.chunks().empty()) {
      chunks.push_back(column.chunks().front());
    } else if (column.dictionary() && chunks.empty()) {
      auto empty = std::make_shared<Array>(*empty_array(column.field().type));
      empty->dictionary = column.dictionary();
      chunks.push_back(std::move(empty));
    }
  }

  Field top_;
  std::vector<Field> fields_;
  std::vector<std::vector<ArrayPtr>> chunks_;
  std::int64_t num_rows_ = 0;
};

}  // namespace

Table::Table(std::vector<Column> columns, std::int64_t num_rows)
    : columns_(std::move(columns)), num_rows_(num_rows) {
  for (const Column& column : columns_) {
    if (column.length() != num_rows_) {
      throw std::invalid_argument("column '" + column.field().name + "' has " +
                                  std::to_string(column.length()) + " rows, its table " +
                                  std::to_string(num_rows_));
    }
  }
}

const Column& Table::column(std::int64_t index) const {
  if (index < 0 || index >= std::ssize(columns_)) {
    throw std::invalid_argument("no column " + std::to_string(index) + " in a table of " +
                                std::to_string(columns_.size()));
  }
  return columns_[static_cast<std::size_t>(index)];
}

Table import_stream(UniqueStream stream) {
  const UniqueSchema schema = read_schema(stream);
  TableReader reader(*schema.get());
  while (UniqueArray batch = read_batch(stream)) reader.add(std::move(batch));
  return std::move(reader).finish();
}

Table import_array(const ArrowSchema& schema, UniqueArray array) {
  TableReader reader(schema);
  reader.add(std::move(array));
  return std::move(reader).finish();
}

std::vector<Field> import_schema(const ArrowSchema& schema) {
  const Field top = parse_field(schema);
  if (top.type->layout != Layout::Struct) {
    throw std::invalid_argument("not the schema of a table but " + describe(*top.type));
  }
  return top.type->children;
}

}  // namespace elevon::arrow

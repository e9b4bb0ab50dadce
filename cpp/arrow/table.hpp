// Tables in and out by the Arrow C stream interface; the border where foreign data is checked.
#pragma once

#include <cstdint>
#include <vector>

#include "arrow/unique.hpp"
#include "arrow/view.hpp"

namespace elevon::arrow {

// Columns of one length. Columns may be chunked differently; export cuts them alike.
class Table {
 public:
  Table() = default;
  // num_rows matters where there are no columns. Throws std::invalid_argument on unlike lengths.
  Table(std::vector<Column> columns, std::int64_t num_rows);

  [[nodiscard]] std::int64_t num_rows() const { return num_rows_; }
  [[nodiscard]] const std::vector<Column>& columns() const { return columns_; }
  // Throws std::invalid_argument if there is no such column.
  [[nodiscard]] const Column& column(std::int64_t index) const;

 private:
  std::vector<Column> columns_;
  std::int64_t num_rows_ = 0;
};

// Reads a stream to its end. Nothing is copied, except buffers that are not aligned to their
// element and dictionaries that differ between batches. Every length, offset, index and count
// is checked, so that kernels may trust them. A stream of non-struct arrays is one column.
// Throws std::invalid_argument on malformed or unsupported data and on a failing stream.
[[nodiscard]] Table import_stream(UniqueStream stream);

// One struct array (a record batch) as a table, or any other array as one column.
[[nodiscard]] Table import_array(const ArrowSchema& schema, UniqueArray array);

// The fields of a struct schema. Throws std::invalid_argument if it is not a struct.
[[nodiscard]] std::vector<Field> import_schema(const ArrowSchema& schema);

// Streams may be made any number of times; each keeps the memory that it exports alive.
[[nodiscard]] UniqueStream export_stream(const Table& table);
[[nodiscard]] UniqueSchema export_schema(const std::vector<Field>& fields);

// Checks one array against its type, as import does: lengths, offsets, indices, children.
// Buffer sizes are not known here: `buffers` must hold what length and offset ask for.
void validate(const Array& array);

}  // namespace elevon::arrow

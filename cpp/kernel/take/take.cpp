// Gathers columns and tables: chooses the way by layout, and cuts where 32-bit offsets end.

#include "kernel/take/take.hpp"

#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

using arrow::ArrayPtr;
using arrow::Column;
using arrow::Layout;

// The chunks that gathering the rows makes: halves where one is too much for its offsets.
void gather_chunks(const Source& source, const Rows& rows, int threads,
                   std::vector<ArrayPtr>& chunks) {
  try {
    chunks.push_back(gather_array(source, rows, useful_threads(rows.size(), threads)));
    return;
  } catch (const OffsetOverflow&) {
    if (rows.size() < 2) {
      throw std::invalid_argument("one row of " + describe(source.type()) +
                                  " outgrows its 32-bit offsets");
    }
  }
  const std::int64_t half = rows.size() / 2;
  gather_chunks(source, rows.part(0, half), threads, chunks);
  gather_chunks(source, rows.part(half, rows.size() - half), threads, chunks);
}

std::vector<ArrayPtr> chunks_of(const Column& column) {
  if (!column.chunks().empty()) return column.chunks();
  auto empty = std::make_shared<arrow::Array>(*arrow::empty_array(column.field().type));
  empty->dictionary = column.dictionary();
  return {std::move(empty)};
}

// Row numbers 0, 1, 2 ... size - 1.
OwnedArray<std::int64_t> all_rows(std::int64_t size) {
  OwnedArray<std::int64_t> rows(size);
  for (std::int64_t row = 0; row < size; ++row) rows[row] = row;
  return rows;
}

// Fixed-width chunks without nulls, one after the other: no row numbers needed.
ArrayPtr join_fixed(const Column& column, int threads) {
  const std::int64_t width = column.type().width;
  Buffer values(column.length() * width);
  const auto count = static_cast<std::int64_t>(column.chunks().size());
  const int workers = useful_threads(column.length(), threads);
  parallel(workers, [&](int worker) {
    const Range part = part_of(count, workers, worker, 1);
    for (std::int64_t index = part.begin; index < part.end; ++index) {
      const auto at = static_cast<std::size_t>(index);
      const arrow::Array& chunk = *column.chunks()[at];
      std::memcpy(values.data() + column.starts()[at] * width,
                  chunk.buffers[0] + chunk.offset * width,
                  static_cast<std::size_t>(chunk.length * width));
    }
  });
  return make_array(column.field().type, column.length(), 0, {}, {share(std::move(values))});
}

// The same strings under 64-bit offsets; the bytes are shared.
ArrayPtr widen_offsets(const ArrayPtr& chunk, const arrow::TypePtr& type) {
  OwnedArray<std::int64_t> offsets(chunk->offset + chunk->length + 1);
  const auto* narrow = chunk->values<std::int32_t>();
  for (std::int64_t row = 0; row <= chunk->length; ++row)
    offsets[chunk->offset + row] = narrow[row];
  auto wide = std::make_shared<arrow::Array>(*chunk);
  wide->type = type;
  wide->buffers[0] = reinterpret_cast<const std::byte*>(offsets.data());
  wide->owners.push_back(share(std::move(offsets)).owner);
  return wide;
}

Column widen(const Column& column) {
  arrow::Field field = column.field();
  field.type = arrow::simple_type(column.type().kind == arrow::Kind::Utf8 ? "U" : "Z");
  std::vector<ArrayPtr> chunks;
  for (const ArrayPtr& chunk : column.chunks()) chunks.push_back(widen_offsets(chunk, field.type));
  return {std::move(field), std::move(chunks)};
}

bool outgrows_offsets(const Column& column) {
  if (column.type().layout != Layout::Offsets32) return false;
  std::int64_t bytes = 0;
  for (const ArrayPtr& chunk : column.chunks()) {
    const auto* offsets = chunk->values<std::int32_t>();
    bytes += offsets[chunk->length] - offsets[0];
  }
  return bytes > std::numeric_limits<std::int32_t>::max();
}

// The dictionary entry of each row; a null row has none.
template <typename Index>
void read_indices(const arrow::Array& chunk, std::int64_t* out) {
  const Index* indices = chunk.values<Index>();
  for (std::int64_t row = 0; row < chunk.length; ++row) {
    out[row] = chunk.is_valid(row) ? static_cast<std::int64_t>(indices[row]) : kNoRow64;
  }
}

void read_entries(const arrow::Array& chunk, std::int64_t* out) {
  switch (chunk.type->width) {
    case 1: return read_indices<std::uint8_t>(chunk, out);
    case 2: return read_indices<std::uint16_t>(chunk, out);
    case 4: return read_indices<std::uint32_t>(chunk, out);
    default: return read_indices<std::uint64_t>(chunk, out);
  }
}

}  // namespace

Rows Rows::part(std::int64_t begin, std::int64_t size) const {
  Rows rows = *this;
  if (narrow_ != nullptr) rows.narrow_ += begin;
  if (wide_ != nullptr) rows.wide_ += begin;
  rows.size_ = size;
  return rows;
}

Source::Source(arrow::TypePtr type, std::vector<ArrayPtr> chunks)
    : type_(std::move(type)), chunks_(std::move(chunks)), starts_{0} {
  for (const ArrayPtr& chunk : chunks_) {
    starts_.push_back(starts_.back() + chunk->length);
    has_nulls_ = has_nulls_ || chunk->null_count > 0;
  }
}

Source::Source(const Column& column) : Source(column.field().type, chunks_of(column)) {}

ManyChunks::ManyChunks(const Source& source) : starts_(source.starts().data()) {
  const std::int64_t rows = source.starts().back();
  const auto chunks = static_cast<std::int64_t>(source.chunks().size());
  // About four entries for each chunk: then a row is found in its entry's chunk or the next one.
  while ((rows >> shift_) > 4 * chunks) ++shift_;
  std::uint32_t chunk = 0;
  for (std::int64_t row = 0; row < rows; row += std::int64_t{1} << shift_) {
    while (row >= starts_[chunk + 1]) ++chunk;
    first_.push_back(chunk);
  }
}

ArrayPtr gather_array(const Source& source, const Rows& rows, int threads) {
  switch (source.type().layout) {
    case Layout::Null: return make_array(source.type_ptr(), rows.size(), rows.size(), {}, {});
    case Layout::Bits: return gather_bits(source, rows, threads);
    case Layout::Fixed: return gather_fixed(source, rows, threads);
    case Layout::Offsets32:
    case Layout::Offsets64: return gather_bytes(source, rows, threads);
    case Layout::Views: return gather_views(source, rows, threads);
    case Layout::Dictionary: {
      auto indices = std::make_shared<arrow::Array>(*gather_fixed(source, rows, threads));
      indices->dictionary = source.chunks().front()->dictionary;
      return indices;
    }
    default: return gather_nested(source, rows, threads);
  }
}

Column gather(const Column& column, const Rows& rows, int threads) {
  std::vector<ArrayPtr> chunks;
  gather_chunks(Source(column), rows, threads, chunks);
  return {column.field(), std::move(chunks)};
}

arrow::Table gather(const arrow::Table& table, const Rows& rows, int threads) {
  std::vector<Column> columns;
  for (const Column& column : table.columns()) columns.push_back(gather(column, rows, threads));
  return {std::move(columns), rows.size()};
}

Column combine_chunks(const Column& column, int threads) {
  if (column.chunks().size() < 2) return column;
  if (column.type().layout == Layout::Fixed && column.null_count() == 0) {
    return {column.field(), {join_fixed(column, threads)}};
  }
  const OwnedArray<std::int64_t> rows = all_rows(column.length());
  Column result =
      gather(outgrows_offsets(column) ? widen(column) : column, Rows(rows.span()), threads);
  if (result.chunks().size() > 1) {
    throw std::invalid_argument("column '" + column.field().name + "' of type " +
                                describe(column.type()) + " outgrows its 32-bit offsets");
  }
  return result;
}

Column decode_dictionary(const Column& column, int threads) {
  if (column.type().layout != Layout::Dictionary) return column;
  OwnedArray<std::int64_t> entries(column.length());
  for (std::size_t index = 0; index < column.chunks().size(); ++index) {
    read_entries(*column.chunks()[index], entries.data() + column.starts()[index]);
  }
  arrow::Field field = column.field();
  field.type = column.type().dictionary;
  return gather(Column(std::move(field), {column.dictionary()}), Rows(entries.span(), true),
                threads);
}

}  // namespace elevon::kernel

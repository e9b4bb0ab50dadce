// Reads a caller's row numbers, checked.

#include "kernel/take/indices.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernel/take/take.hpp"

namespace elevon::kernel {
namespace {

// A uint64 beyond int64 becomes negative here, and so is refused too.
template <typename T>
void read(const arrow::Array& chunk, std::int64_t num_rows, std::int64_t* out) {
  const T* values = chunk.values<T>();
  for (std::int64_t row = 0; row < chunk.length; ++row) {
    if (!chunk.is_valid(row)) {
      out[row] = kNoRow64;
      continue;
    }
    out[row] = static_cast<std::int64_t>(values[row]);
    if (out[row] < 0 || out[row] >= num_rows) {
      throw std::invalid_argument("index " + std::to_string(values[row]) + " is out of range for " +
                                  std::to_string(num_rows) + " rows");
    }
  }
}

void read_signed(const arrow::Array& chunk, std::int64_t num_rows, std::int64_t* out) {
  switch (chunk.type->width) {
    case 1: return read<std::int8_t>(chunk, num_rows, out);
    case 2: return read<std::int16_t>(chunk, num_rows, out);
    case 4: return read<std::int32_t>(chunk, num_rows, out);
    default: return read<std::int64_t>(chunk, num_rows, out);
  }
}

void read_unsigned(const arrow::Array& chunk, std::int64_t num_rows, std::int64_t* out) {
  switch (chunk.type->width) {
    case 1: return read<std::uint8_t>(chunk, num_rows, out);
    case 2: return read<std::uint16_t>(chunk, num_rows, out);
    case 4: return read<std::uint32_t>(chunk, num_rows, out);
    default: return read<std::uint64_t>(chunk, num_rows, out);
  }
}

OwnedArray<std::int64_t> no_rows(std::int64_t length) {
  OwnedArray<std::int64_t> out(length);
  std::fill(out.begin(), out.end(), kNoRow64);
  return out;
}

}  // namespace

OwnedArray<std::int64_t> read_indices(const arrow::Column& column, std::int64_t num_rows) {
  const arrow::Kind kind = column.type().kind;
  if (kind == arrow::Kind::Null) return no_rows(column.length());
  if (kind != arrow::Kind::Int && kind != arrow::Kind::UInt) {
    throw std::invalid_argument("indices must be integers, not " + describe(column.type()));
  }
  OwnedArray<std::int64_t> out(column.length());
  for (std::size_t index = 0; index < column.chunks().size(); ++index) {
    std::int64_t* target = out.data() + column.starts()[index];
    const arrow::Array& chunk = *column.chunks()[index];
    kind == arrow::Kind::Int ? read_signed(chunk, num_rows, target)
                             : read_unsigned(chunk, num_rows, target);
  }
  return out;
}

}  // namespace elevon::kernel

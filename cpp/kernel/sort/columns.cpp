#include "kernel/sort/columns.hpp"

#include <memory>
#include <optional>
#include <utility>

#include "kernel/keys/normalize_key.hpp"
#include "kernel/sort/bytes.hpp"
#include "kernel/sort/route.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {
namespace {

struct Wide {
  std::uint64_t low;
  std::uint64_t high;
};

// Calls f(T{}) with a type of `width` bytes, if there is one.
template <typename F>
void with_width(int width, F&& f) {
  switch (width) {
    case 1: return f(std::uint8_t{});
    case 2: return f(std::uint16_t{});
    case 4: return f(std::uint32_t{});
    case 8: return f(std::uint64_t{});
    case 16: return f(Wide{});
    default: return;
  }
}

template <typename T, typename Route>
OwnedArray<T> move_fixed(const arrow::Column& column, const Route& route, const RowOrder& order) {
  return move_values<T>(route, order, [&](auto& sink, Range rows) {
    for_chunks(column, rows, [&](const arrow::Array& array, Range in, std::int64_t) {
      const T* values = array.values<T>() + in.begin;
      sink.add(in.size(), [&](std::int64_t i) { return values[i]; });
    });
  });
}

// Bits travel as bytes. bit_of(array, row) is a bit of the column.
template <typename Route, typename BitOf>
OwnedArray<std::uint8_t> move_bits(const arrow::Column& column, const Route& route,
                                   const RowOrder& order, BitOf&& bit_of) {
  const auto bytes = move_values<std::uint8_t>(route, order, [&](auto& sink, Range rows) {
    for_chunks(column, rows, [&](const arrow::Array& array, Range in, std::int64_t) {
      sink.add(in.size(), [&](std::int64_t i) {
        return static_cast<std::uint8_t>(bit_of(array, in.begin + i) ? 1 : 0);
      });
    });
  });
  OwnedArray<std::uint8_t> bits((route.rows + 7) / 8);
  parallel(route.threads, [&](int thread) {
    const Range rows = part_of(route.rows, route.threads, thread);  // no byte is shared
    for (std::int64_t row = rows.begin; row < rows.end; row += 8) {
      unsigned byte = 0;
      const std::int64_t count = std::min<std::int64_t>(8, rows.end - row);
      for (std::int64_t i = 0; i < count; ++i) byte |= unsigned{bytes[row + i]} << i;
      bits[row / 8] = static_cast<std::uint8_t>(byte);
    }
  });
  return bits;
}

using Buffers = std::vector<arrow::Memory>;

arrow::Column make_column(const arrow::Column& source, std::int64_t rows, arrow::Memory validity,
                          Buffers buffers) {
  auto array = std::make_shared<arrow::Array>(*make_array(
      source.field().type, rows, source.null_count(), std::move(validity), std::move(buffers)));
  array->dictionary = source.dictionary();
  return {source.field(), {std::move(array)}};
}

bool value_bit(const arrow::Array& array, std::int64_t row) {
  return array.bit(row);
}
bool valid_bit(const arrow::Array& array, std::int64_t row) {
  return array.is_valid(row);
}

// The values of a column; nothing if they can only be gathered by row numbers.
template <typename Route>
std::optional<Buffers> move_buffers(const arrow::Column& column, const Route& route,
                                    const RowOrder& order) {
  std::optional<Buffers> buffers;
  switch (column.type().layout) {
    case arrow::Layout::Bits: return Buffers{share(move_bits(column, route, order, value_bit))};
    case arrow::Layout::Offsets32:
    case arrow::Layout::Offsets64: return move_bytes(column, route, order);
    case arrow::Layout::Fixed:
    case arrow::Layout::Dictionary:
      with_width(column.type().width, [&]<typename T>(T) {
        buffers = Buffers{share(move_fixed<T>(column, route, order))};
      });
      return buffers;
    default: return buffers;
  }
}

template <typename Route>
std::optional<arrow::Column> move_column(const arrow::Column& column, const Route& route,
                                         const RowOrder& order) {
  auto buffers = move_buffers(column, route, order);
  if (!buffers) return std::nullopt;
  arrow::Memory validity;
  if (column.null_count() > 0) validity = share(move_bits(column, route, order, valid_bit));
  return make_column(column, route.rows, std::move(validity), *std::move(buffers));
}

}  // namespace

template <typename Row, typename Route>
OwnedArray<Row> move_row_numbers(const Route& route, const RowOrder& order) {
  return move_values<Row>(route, order, [](auto& sink, Range rows) {
    sink.add(rows.size(), [&](std::int64_t i) { return static_cast<Row>(rows.begin + i); });
  });
}

template OwnedArray<std::int64_t> move_row_numbers(const Buckets&, const RowOrder&);

SortedColumns::SortedColumns(const arrow::Table& table, const KeyOrder& order)
    : table_(table), values_(table.columns().size()) {
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const arrow::Column& column = table.columns()[i];
    const KeyOrder::Field field = order.field_of(column);
    if (field.coder == nullptr) continue;
    values_[i] = Buffer(table.num_rows() * column.type().width);
    decoded_.push_back({field, column.type().width, values_[i].data()});
  }
}

template <typename Route>
arrow::Table SortedColumns::build(const Route& route, const RowOrder& order) {
  return with_row_type(route.rows, [&]<typename Row>(Row) {
    OwnedArray<Row> numbers;
    std::vector<arrow::Column> columns;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const arrow::Column& column = table_.columns()[i];
      if (values_[i].data() != nullptr) {
        columns.push_back(make_column(column, route.rows, {}, {share(std::move(values_[i]))}));
      } else if (auto moved = move_column(column, route, order)) {
        columns.push_back(*std::move(moved));
      } else {
        if (numbers.size() == 0) numbers = move_row_numbers<Row>(route, order);
        columns.push_back(gather(column, Rows(numbers.span()), route.threads));
      }
    }
    return arrow::Table(std::move(columns), route.rows);
  });
}

template arrow::Table SortedColumns::build(const Buckets&, const RowOrder&);
template arrow::Table SortedColumns::build(const Pieces&, const RowOrder&);

}  // namespace elevon::kernel

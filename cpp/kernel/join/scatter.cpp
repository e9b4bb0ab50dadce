// Scatters values, strings and validity.

#include "kernel/join/scatter.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "kernel/base/parallel.hpp"
#include "kernel/base/small_copy.hpp"
#include "kernel/join/pieces.hpp"

namespace elevon::kernel {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Column;
using arrow::Kind;
using arrow::Layout;
using arrow::Memory;
using arrow::Type;
using arrow::TypePtr;

namespace {

// Calls f(position, row) for rows of a part, in order; `next` are the part's cursors.
template <typename Index, typename F>
void for_positions(const Placement<Index>& placement, Range rows, Index* __restrict next, F&& f) {
  const std::uint16_t* partition_of = placement.partition_of();
  for (std::int64_t row = rows.begin; row < rows.end; ++row) f(next[partition_of[row]]++, row);
}

// Calls f(part, array, begin, rows) for each piece of each part, on all threads; row
// rows.begin is at `begin` of the array.
template <typename Index, typename F>
void for_part_pieces(const Column& column, const Placement<Index>& placement, F&& f) {
  parallel(placement.parts(), [&](int part) {
    const Range rows = placement.part(part);
    for_pieces(column, rows, [&](const Array& array, auto begin, auto count, auto done) {
      const std::int64_t first = rows.begin + done;
      f(part, array, begin, Range{first, first + count});
    });
  });
}

template <typename Index>
using Cursors = std::vector<std::vector<Index>>;

template <typename Index>
Cursors<Index> all_cursors(const Placement<Index>& placement) {
  Cursors<Index> cursors;
  for (int part = 0; part < placement.parts(); ++part) cursors.push_back(placement.cursors(part));
  return cursors;
}

std::size_t at(int part) {
  return static_cast<std::size_t>(part);
}

// out[position] = value_of(array, row in the array) for every row.
template <typename T, typename Index, typename Read>
OwnedArray<T> scatter_each(const Column& column, const Placement<Index>& placement, Read&& read) {
  OwnedArray<T> values(column.length());
  T* __restrict out = values.data();
  auto cursors = all_cursors(placement);
  for_part_pieces(column, placement, [&](int part, const Array& array, auto begin, Range rows) {
    const auto value = read(array);
    const std::int64_t shift = begin - rows.begin;
    for_positions(placement, rows, cursors[at(part)].data(),
                  [&](Index position, std::int64_t row) { out[position] = value(row + shift); });
  });
  return values;
}

template <typename T, typename Index>
Memory scatter_values(const Column& column, const Placement<Index>& placement) {
  return share(scatter_each<T>(column, placement, [](const Array& array) {
    return [values = array.values<T>()](std::int64_t row) { return values[row]; };
  }));
}

template <typename Index>
Memory scatter_width(const Column& column, const Placement<Index>& placement) {
  switch (column.type().width) {
    case 1: return scatter_values<std::uint8_t>(column, placement);
    case 2: return scatter_values<std::uint16_t>(column, placement);
    case 4: return scatter_values<std::uint32_t>(column, placement);
    case 8: return scatter_values<std::uint64_t>(column, placement);
    default: return scatter_values<Bytes16>(column, placement);
  }
}

template <typename Index>
Memory scatter_bools(const Column& column, const Placement<Index>& placement) {
  return share(scatter_each<std::uint8_t>(column, placement, [](const Array& array) {
    return [&array](std::int64_t row) { return static_cast<std::uint8_t>(array.bit(row)); };
  }));
}

template <typename Index>
PackedBits scatter_validity(const Column& column, const Placement<Index>& placement, int threads) {
  if (column.null_count() == 0) return {};
  const auto bytes = scatter_each<std::uint8_t>(column, placement, [](const Array& array) {
    return [&array](std::int64_t row) { return static_cast<std::uint8_t>(array.is_valid(row)); };
  });
  return pack_bits(bytes.span(), threads);
}

// Bytes that each part has for each partition.
template <typename Index>
Cursors<std::int64_t> count_bytes(const Column& column, const Placement<Index>& placement) {
  const auto partitions = static_cast<std::size_t>(placement.partitions()) + 1;
  Cursors<std::int64_t> bytes(at(placement.parts()), std::vector<std::int64_t>(partitions));
  for_part_pieces(column, placement, [&](int part, const Array& array, auto begin, Range rows) {
    std::int64_t* counts = bytes[at(part)].data();
    const std::uint16_t* partition_of = placement.partition_of();
    arrow::visit_binary(array, [&](const auto& reader) {
      for (std::int64_t row = rows.begin; row < rows.end; ++row) {
        counts[partition_of[row]] += reader.size(begin + row - rows.begin);
      }
    });
  });
  return bytes;
}

// Counts to places, partition after partition and part after part, as positions are. The total.
std::int64_t sum_counts(Cursors<std::int64_t>& counts) {
  std::int64_t sum = 0;
  for (std::size_t partition = 0; partition < counts.front().size(); ++partition) {
    for (auto& part : counts) sum += std::exchange(part[partition], sum);
  }
  return sum;
}

template <typename Offset, typename Index>
std::vector<Memory> scatter_strings(const Column& column, const Placement<Index>& placement,
                                    Cursors<std::int64_t> ends, std::int64_t total) {
  OwnedArray<Offset> offsets(column.length() + 1);
  Buffer bytes(total);
  auto cursors = all_cursors(placement);
  for_part_pieces(column, placement, [&](int part, const Array& array, auto begin, Range rows) {
    std::int64_t* __restrict end_of = ends[at(part)].data();
    const std::uint16_t* partition_of = placement.partition_of();
    arrow::visit_binary(array, [&](const auto& reader) {
      for_positions(placement, rows, cursors[at(part)].data(),
                    [&](Index position, std::int64_t row) {
                      const std::string_view value = reader(begin + row - rows.begin);
                      std::int64_t& end = end_of[partition_of[row]];
                      const auto size = static_cast<std::int64_t>(value.size());
                      offsets[static_cast<std::int64_t>(position)] = static_cast<Offset>(end);
                      small_copy(bytes.data() + end, value.data(), size);
                      end += size;
                    });
    });
  });
  offsets[column.length()] = static_cast<Offset>(total);
  return {share(std::move(offsets)), share(std::move(bytes))};
}

bool fits_narrow_offsets(const Column& column) {
  std::int64_t bytes = 0;
  for (const ArrayPtr& chunk : column.chunks()) {
    const auto* offsets = chunk->values<std::int32_t>();
    bytes += offsets[chunk->length] - offsets[0];
  }
  return bytes <= std::numeric_limits<std::int32_t>::max();
}

struct Scattered {
  TypePtr type;
  std::vector<Memory> buffers;
};

template <typename Index>
Scattered scatter_bytes(const Column& column, const Placement<Index>& placement) {
  Cursors<std::int64_t> ends = count_bytes(column, placement);
  const std::int64_t total = sum_counts(ends);
  if (column.type().layout == Layout::Offsets32 && fits_narrow_offsets(column)) {
    return {column.field().type,
            scatter_strings<std::int32_t>(column, placement, std::move(ends), total)};
  }
  const bool text = column.type().kind == Kind::Utf8;
  return {arrow::simple_type(text ? "U" : "Z"),
          scatter_strings<std::int64_t>(column, placement, std::move(ends), total)};
}

template <typename Index>
Scattered scatter_buffers(const Column& column, const Placement<Index>& placement) {
  const Type& type = column.type();
  if (type.layout == Layout::Null) return {column.field().type, {}};
  if (type.layout == Layout::Bits) {
    return {arrow::simple_type("C"), {scatter_bools(column, placement)}};
  }
  if (has_common_width(type)) {
    return {column.field().type, {scatter_width(column, placement)}};
  }
  return scatter_bytes(column, placement);
}

std::uint8_t pack_byte(const std::uint8_t* bytes, std::int64_t count) {
  unsigned bits = 0;
  for (std::int64_t i = 0; i < count; ++i) bits |= static_cast<unsigned>(bytes[i]) << i;
  return static_cast<std::uint8_t>(bits);
}

}  // namespace

bool has_common_width(const Type& type) {
  if (type.layout != Layout::Fixed && type.layout != Layout::Dictionary) return false;
  constexpr std::array kWidths{1, 2, 4, 8, 16};
  return std::find(kWidths.begin(), kWidths.end(), type.width) != kWidths.end();
}

bool keeps_type(const Column& column) {
  if (column.type().layout == Layout::Offsets32) return fits_narrow_offsets(column);
  return column.type().layout == Layout::Offsets64 || has_common_width(column.type());
}

PackedBits pack_bits(std::span<const std::uint8_t> bytes, int threads) {
  const auto rows = static_cast<std::int64_t>(bytes.size());
  OwnedArray<std::uint8_t> bits((rows + 7) / 8);
  const int parts = useful_threads(rows, threads);
  std::vector<std::int64_t> ones(at(parts));
  parallel(parts, [&](int part) {
    const Range range = part_of(rows, parts, part);
    for (std::int64_t row = range.begin; row < range.end; row += 8) {
      bits[row / 8] = pack_byte(bytes.data() + row, std::min<std::int64_t>(8, range.end - row));
    }
    ones[at(part)] =
        std::accumulate(bytes.begin() + range.begin, bytes.begin() + range.end, std::int64_t{0});
  });
  const std::int64_t set = std::accumulate(ones.begin(), ones.end(), std::int64_t{0});
  return {share(std::move(bits)), rows - set};
}

template <typename Index>
Column scatter_column(const Column& column, const Placement<Index>& placement, int threads) {
  Scattered scattered = scatter_buffers(column, placement);
  PackedBits validity = scatter_validity(column, placement, threads);
  arrow::Field field = column.field();
  field.type = scattered.type;
  ArrayPtr array = make_array(field.type, column.length(), column.null_count(),
                              std::move(validity.bits), std::move(scattered.buffers));
  if (field.type->layout == Layout::Dictionary) {
    auto coded = std::make_shared<Array>(*array);
    coded->dictionary = column.dictionary();
    array = std::move(coded);
  }
  return {std::move(field), {std::move(array)}};
}

template <typename Index>
OwnedArray<Index> row_numbers(const Placement<Index>& placement) {
  OwnedArray<Index> numbers(placement.rows());
  parallel(placement.parts(), [&](int part) {
    std::vector<Index> cursors = placement.cursors(part);
    for_positions(placement, placement.part(part), cursors.data(),
                  [&](Index position, std::int64_t row) {
                    numbers[static_cast<std::int64_t>(position)] = static_cast<Index>(row);
                  });
  });
  return numbers;
}

template Column scatter_column(const Column&, const Placement<std::uint32_t>&, int);
template Column scatter_column(const Column&, const Placement<std::int64_t>&, int);
template OwnedArray<std::uint32_t> row_numbers(const Placement<std::uint32_t>&);
template OwnedArray<std::int64_t> row_numbers(const Placement<std::int64_t>&);

}  // namespace elevon::kernel

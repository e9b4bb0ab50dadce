// Scatter by partition, gather by match, for every fixed width. Before it: partition, stream.

#include "kernel/join_carry.hpp"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "kernel/join_config.hpp"
#include "kernel/join_pieces.hpp"
#include "kernel/join_stream.hpp"
#include "kernel/parallel.hpp"

namespace elevon::kernel {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Column;
using arrow::Layout;
using arrow::Memory;
using arrow::Type;

namespace {

// Calls f(position, row) for rows of a part, in order; `next` are the part's cursors.
template <typename Index, typename F>
void for_positions(const Placement<Index>& placement, Range rows, Index* __restrict next, F&& f) {
  const std::uint16_t* partition_of = placement.partition_of();
  for (std::int64_t row = rows.begin; row < rows.end; ++row) f(next[partition_of[row]]++, row);
}

// Calls f(array, begin, rows, cursors) for each piece of each part, on all threads.
template <typename Index, typename F>
void for_part_pieces(const Column& column, const Placement<Index>& placement, F&& f) {
  parallel(placement.parts(), [&](int part) {
    std::vector<Index> cursors = placement.cursors(part);
    const Range rows = placement.part(part);
    for_pieces(column, rows, [&](const Array& array, auto begin, auto count, auto done) {
      const std::int64_t first = rows.begin + done;
      f(array, begin, Range{first, first + count}, cursors.data());
    });
  });
}

template <typename T, typename Index>
void scatter_values(const Column& column, const Placement<Index>& placement, T* __restrict out) {
  for_part_pieces(column, placement, [&](const Array& array, auto begin, Range rows, Index* next) {
    const T* values = array.values<T>() + begin - rows.begin;
    for_positions(placement, rows, next,
                  [&](Index position, std::int64_t row) { out[position] = values[row]; });
  });
}

template <typename Index>
void scatter_validity(const Column& column, const Placement<Index>& placement, std::uint8_t* out) {
  for_part_pieces(column, placement, [&](const Array& array, auto begin, Range rows, Index* next) {
    for_positions(placement, rows, next, [&](Index position, std::int64_t row) {
      out[position] = array.is_valid(begin + row - rows.begin) ? 1 : 0;
    });
  });
}

// Values of a side by position, in the order of the result; T{} where the row is missing.
template <typename T, typename Index>
void gather_positions(const T* values, const MatchedSide<Index>& side,
                      const Matches<Index>& matches, int threads, T* out) {
  const auto ahead = [&](const Segment<Index>& segment) {
    const bool random = side.unordered && segment.partition < side.placement->partitions();
    return random ? Prefetcher(values, side.placement->partition(segment.partition)) : Prefetcher{};
  };
  if (side.may_miss) {
    const auto make = [&](const Segment<Index>& segment) {
      return [values, positions = segment.*side.positions](std::int64_t j) {
        const Index position = positions[j];
        return position == kNoPosition<Index> ? T{} : values[position];
      };
    };
    return write_rows(matches, threads, out, make, ahead);
  }
  const auto make = [&](const Segment<Index>& segment) {
    return [values, positions = segment.*side.positions](std::int64_t j) {
      return values[positions[j]];
    };
  };
  write_rows(matches, threads, out, make, ahead);
}

// Which rows of the result have a value, as bytes; nothing if all have.
template <typename Index>
OwnedArray<std::uint8_t> gather_validity_bytes(const Column& column, const MatchedSide<Index>& side,
                                               const Matches<Index>& matches, int threads) {
  if (!side.may_miss && column.null_count() == 0) return {};
  OwnedArray<std::uint8_t> valid(matches.rows);
  if (column.null_count() > 0) {
    OwnedArray<std::uint8_t> scattered(column.length());
    scatter_validity(column, *side.placement, scattered.data());
    gather_positions(scattered.data(), side, matches, threads, valid.data());
    return valid;
  }
  write_rows(matches, threads, valid.data(), [&](const Segment<Index>& segment) {
    return [positions = segment.*side.positions](std::int64_t j) {
      return static_cast<std::uint8_t>(positions[j] == kNoPosition<Index> ? 0 : 1);
    };
  });
  return valid;
}

template <typename T, typename Index>
Memory carry_values(const Column& column, const MatchedSide<Index>& side,
                    const Matches<Index>& matches, int threads) {
  OwnedArray<T> scattered(column.length());
  scatter_values(column, *side.placement, scattered.data());
  OwnedArray<T> out(matches.rows);
  gather_positions(scattered.data(), side, matches, threads, out.data());
  return share(std::move(out));
}

template <typename Index>
Memory carry_width(const Column& column, const MatchedSide<Index>& side,
                   const Matches<Index>& matches, int threads) {
  switch (column.type().width) {
    case 1: return carry_values<std::uint8_t>(column, side, matches, threads);
    case 2: return carry_values<std::uint16_t>(column, side, matches, threads);
    case 4: return carry_values<std::uint32_t>(column, side, matches, threads);
    case 8: return carry_values<std::uint64_t>(column, side, matches, threads);
    default: return carry_values<Bytes16>(column, side, matches, threads);
  }
}

std::uint8_t pack_byte(const std::uint8_t* bytes, std::int64_t count) {
  unsigned bits = 0;
  for (std::int64_t i = 0; i < count; ++i) bits |= static_cast<unsigned>(bytes[i]) << i;
  return static_cast<std::uint8_t>(bits);
}

}  // namespace

bool can_carry(const Type& type) {
  if (type.layout != Layout::Fixed && type.layout != Layout::Dictionary) return false;
  constexpr std::array kWidths{1, 2, 4, 8, 16};
  return std::find(kWidths.begin(), kWidths.end(), type.width) != kWidths.end();
}

PackedBits pack_bits(std::span<const std::uint8_t> bytes, int threads) {
  const auto rows = static_cast<std::int64_t>(bytes.size());
  OwnedArray<std::uint8_t> bits((rows + 7) / 8);
  const int parts = useful_threads(rows, threads);
  std::vector<std::int64_t> ones(static_cast<std::size_t>(parts));
  parallel(parts, [&](int part) {
    const Range range = part_of(rows, parts, part);
    for (std::int64_t row = range.begin; row < range.end; row += 8) {
      bits[row / 8] = pack_byte(bytes.data() + row, std::min<std::int64_t>(8, range.end - row));
    }
    ones[static_cast<std::size_t>(part)] =
        std::accumulate(bytes.begin() + range.begin, bytes.begin() + range.end, std::int64_t{0});
  });
  const std::int64_t set = std::accumulate(ones.begin(), ones.end(), std::int64_t{0});
  return {share(std::move(bits)), rows - set};
}

template <typename Index>
ArrayPtr carry_column(const Column& column, const MatchedSide<Index>& side,
                      const Matches<Index>& matches, int threads) {
  Memory values = carry_width(column, side, matches, threads);
  const auto valid = gather_validity_bytes(column, side, matches, threads);
  const PackedBits validity = valid.size() > 0 ? pack_bits(valid.span(), threads) : PackedBits{};
  ArrayPtr array = make_array(column.field().type, matches.rows, validity.zeros, validity.bits,
                              {std::move(values)});
  if (column.type().layout != Layout::Dictionary) return array;
  auto coded = std::make_shared<Array>(*array);
  coded->dictionary = column.dictionary();
  return coded;
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

template ArrayPtr carry_column(const Column&, const MatchedSide<std::uint32_t>&,
                               const Matches<std::uint32_t>&, int);
template ArrayPtr carry_column(const Column&, const MatchedSide<std::int64_t>&,
                               const Matches<std::int64_t>&, int);
template OwnedArray<std::uint32_t> row_numbers(const Placement<std::uint32_t>&);
template OwnedArray<std::int64_t> row_numbers(const Placement<std::int64_t>&);

}  // namespace elevon::kernel

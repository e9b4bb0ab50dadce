// Gathers by match, for every fixed width.

#include "kernel/join/carry.hpp"

#include <utility>

#include "kernel/join/scatter.hpp"
#include "kernel/join/stream.hpp"

namespace elevon::kernel {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Column;
using arrow::Layout;
using arrow::Memory;

namespace {

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

// The bitmap of the result; none if all rows have a value.
template <typename Index>
PackedBits gather_validity(const Array& array, const MatchedSide<Index>& side,
                           const Matches<Index>& matches, int threads) {
  if (!side.may_miss && array.null_count == 0) return {};
  OwnedArray<std::uint8_t> valid(matches.rows);
  write_rows(matches, threads, valid.data(), [&](const Segment<Index>& segment) {
    return [&array, positions = segment.*side.positions](std::int64_t j) {
      const Index position = positions[j];
      const bool found =
          position != kNoPosition<Index> && array.is_valid(static_cast<std::int64_t>(position));
      return static_cast<std::uint8_t>(found);
    };
  });
  return pack_bits(valid.span(), threads);
}

template <typename T, typename Index>
Memory carry_values(const Array& array, const MatchedSide<Index>& side,
                    const Matches<Index>& matches, int threads) {
  OwnedArray<T> out(matches.rows);
  gather_positions(array.values<T>(), side, matches, threads, out.data());
  return share(std::move(out));
}

template <typename Index>
Memory carry_width(const Array& array, const MatchedSide<Index>& side,
                   const Matches<Index>& matches, int threads) {
  switch (array.type->width) {
    case 1: return carry_values<std::uint8_t>(array, side, matches, threads);
    case 2: return carry_values<std::uint16_t>(array, side, matches, threads);
    case 4: return carry_values<std::uint32_t>(array, side, matches, threads);
    case 8: return carry_values<std::uint64_t>(array, side, matches, threads);
    default: return carry_values<Bytes16>(array, side, matches, threads);
  }
}

}  // namespace

template <typename Index>
ArrayPtr carry_column(const Column& scattered, const MatchedSide<Index>& side,
                      const Matches<Index>& matches, int threads) {
  // Without a row, every result misses it.
  const ArrayPtr source = scattered.chunks().empty() ? arrow::empty_array(scattered.field().type)
                                                     : scattered.chunks().front();
  Memory values = carry_width(*source, side, matches, threads);
  PackedBits validity = gather_validity(*source, side, matches, threads);
  ArrayPtr array = make_array(scattered.field().type, matches.rows, validity.zeros,
                              std::move(validity.bits), {std::move(values)});
  if (scattered.type().layout != Layout::Dictionary) return array;
  auto coded = std::make_shared<Array>(*array);
  coded->dictionary = scattered.dictionary();
  return coded;
}

template ArrayPtr carry_column(const Column&, const MatchedSide<std::uint32_t>&,
                               const Matches<std::uint32_t>&, int);
template ArrayPtr carry_column(const Column&, const MatchedSide<std::int64_t>&,
                               const Matches<std::int64_t>&, int);

}  // namespace elevon::kernel

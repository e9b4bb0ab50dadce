#include "kernel/keys/prefix_columns.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "kernel/base/parallel.hpp"
#include "kernel/keys/normalize_key.hpp"
#include "kernel/keys/prefix_simd.hpp"

namespace elevon::kernel {
namespace {

// Rows of each column that are looked at before all are.
constexpr std::int64_t kFewRows = 1024;

constexpr std::int64_t kBlock = 1024;  // rows coded at a time: their codes stay in L1

std::uint64_t load_word(const char* from) {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

template <typename Reader>
Chars chars_of(const Reader& reader, std::int64_t row) {
  const std::string_view value = reader(row);
  return {value.data(), static_cast<std::int64_t>(value.size()), reader.room(row)};
}

// Calls f(value) for rows that are not null.
template <typename F>
void for_values(const arrow::Column& column, Range rows, F&& f) {
  for_chunks(column, rows, [&](const arrow::Array& array, Range in, std::int64_t) {
    arrow::visit_binary(array, [&](const auto& reader) {
      for (std::int64_t row = in.begin; row < in.end; ++row) {
        if (array.is_valid(row)) f(chars_of(reader, row));
      }
    });
  });
}

template <typename Offset>
StringRun<Offset> run_of(const arrow::Array& array, Range rows) {
  return {reinterpret_cast<const char*>(array.buffers[1]), array.values<Offset>() + rows.begin,
          rows.size()};
}

// Calls f(run) for strings without nulls; false for other values, and where f returns it.
template <typename F>
bool with_run(const arrow::Array& array, Range rows, F&& f) {
  if (array.null_count > 0) return false;
  switch (array.type->layout) {
    case arrow::Layout::Offsets32: return f(run_of<std::int32_t>(array, rows));
    case arrow::Layout::Offsets64: return f(run_of<std::int64_t>(array, rows));
    default: return false;
  }
}

// What the values of some rows hold after byte `from`.
ByteRanges ranges_of(const arrow::Column& column, Range rows, std::int64_t from) {
  ByteRanges ranges;
  for_chunks(column, rows, [&](const arrow::Array& array, Range in, std::int64_t) {
    const auto measure = [&](const auto& run) { return measure_run(run, from, ranges); };
    if (with_run(array, in, measure)) return;
    arrow::visit_binary(array, [&](const auto& reader) {
      for (std::int64_t row = in.begin; row < in.end; ++row) {
        if (array.is_valid(row)) ranges.add(chars_of(reader, row).after(from));
      }
    });
  });
  return ranges;
}

ByteRanges ranges_after(BytesColumns columns, std::int64_t from, int threads) {
  std::vector<ByteRanges> parts(static_cast<std::size_t>(threads));
  parallel(threads, [&](int part) {
    ByteRanges ranges;
    for (const arrow::Column* column : columns) {
      ranges.add(ranges_of(*column, part_of(column->length(), threads, part), from));
    }
    parts[static_cast<std::size_t>(part)] = ranges;
  });
  for (const ByteRanges& part : std::span(parts).subspan(1)) parts[0].add(part);
  return parts[0];
}

std::string_view first_value(BytesColumns columns) {
  for (const arrow::Column* column : columns) {
    for (const arrow::ArrayPtr& array : column->chunks()) {
      for (std::int64_t row = 0; row < array->length; ++row) {
        if (!array->is_valid(row)) continue;
        return arrow::visit_binary(*array, [&](const auto& reader) { return reader(row); });
      }
    }
  }
  return {};
}

// The length of the prefix that all values share, whatever it is.
std::int64_t long_prefix(BytesColumns columns, int threads) {
  const std::string_view first = first_value(columns);
  std::vector<std::int64_t> parts(static_cast<std::size_t>(threads));
  parallel(threads, [&](int part) {
    auto shared = static_cast<std::int64_t>(first.size());
    for (const arrow::Column* column : columns) {
      for_values(*column, part_of(column->length(), threads, part), [&](Chars value) {
        const std::string_view bytes{value.data, static_cast<std::size_t>(value.size)};
        shared = shared_prefix(first, bytes, 0, shared);
      });
    }
    parts[static_cast<std::size_t>(part)] = shared;
  });
  return *std::min_element(parts.begin(), parts.end());
}

// True if the code has its 16 places within those that the ranges know.
bool reaches(const ByteRanges& ranges) {
  return ranges.shared() <= ByteRanges::kPlaces - PrefixCode::kPlaces;
}

bool few_are_exact(BytesColumns columns) {
  ByteRanges ranges;
  for (const arrow::Column* column : columns) {
    ranges.add(ranges_of(*column, {0, std::min(column->length(), kFewRows)}, 0));
  }
  // Few values may share more than all do.
  return !reaches(ranges) || PrefixCode(ranges, 0, ranges.shared()).exact();
}

struct Bounds {
  std::uint64_t low = ~std::uint64_t{0};
  std::uint64_t high = 0;

  void add(std::uint64_t code) {
    low = std::min(low, code);
    high = std::max(high, code);
  }
};

// All by value: what the compiler knows to be nobody else's stays in registers.
template <typename Reader>
void encode_all(const PrefixCode prefix, const Reader reader, Range rows, std::uint64_t* out) {
  for (std::int64_t row = rows.begin; row < rows.end; ++row) *out++ = prefix(chars_of(reader, row));
}

// Codes of a few rows of an array.
void encode_block(const PrefixCode& prefix, const arrow::Array& array, Range rows,
                  std::uint64_t* out, Bounds& bounds) {
  arrow::visit_binary(array, [&](const auto& reader) {
    if (array.null_count == 0) {
      const auto encode = [&](const auto& run) { return encode_run(run, prefix, out); };
      if (!with_run(array, rows, encode)) encode_all(prefix, reader, rows, out);
      for (std::int64_t i = 0; i < rows.size(); ++i) bounds.add(out[i]);
      return;
    }
    for (std::int64_t row = rows.begin; row < rows.end; ++row, ++out) {
      const bool valid = array.is_valid(row);
      *out = valid ? prefix(chars_of(reader, row)) : 0;
      if (valid) bounds.add(*out);
    }
  });
}

Bounds encode_part(const PrefixCode& prefix, const arrow::Column& column, Range rows,
                   std::uint64_t* out) {
  Bounds bounds;
  for_chunks(column, rows, [&](const arrow::Array& array, Range in, std::int64_t) {
    for (std::int64_t row = in.begin; row < in.end; row += kBlock) {
      const Range block{row, std::min(row + kBlock, in.end)};
      encode_block(prefix, array, block, out, bounds);
      out += block.size();
    }
  });
  return bounds;
}

}  // namespace

std::int64_t shared_prefix(std::string_view a, std::string_view b, std::int64_t from,
                           std::int64_t limit) {
  const auto end = std::min({static_cast<std::int64_t>(std::min(a.size(), b.size())), limit});
  std::int64_t at = from;
  for (; at + 8 <= end; at += 8) {
    const std::uint64_t differ =
        __builtin_bswap64(load_word(a.data() + at) ^ load_word(b.data() + at));
    if (differ != 0) return at + std::countl_zero(differ) / 8;
  }
  while (at < end && a[static_cast<std::size_t>(at)] == b[static_cast<std::size_t>(at)]) ++at;
  return at;
}

// One look at the values is enough, unless they share more than the code leaves of the places that
// were looked at.
PrefixCode measure_prefix(BytesColumns columns, int threads) {
  const ByteRanges ranges = ranges_after(columns, 0, threads);
  if (reaches(ranges)) return {ranges, 0, ranges.shared()};
  const std::int64_t from = long_prefix(columns, threads);
  return {ranges_after(columns, from, threads), from, 0};
}

std::optional<PrefixCode> exact_prefix(BytesColumns columns, int threads) {
  if (!few_are_exact(columns)) return std::nullopt;
  const PrefixCode prefix = measure_prefix(columns, threads);
  return prefix.exact() ? std::optional(prefix) : std::nullopt;
}

PrefixCodes encode_prefix(const arrow::Column& column, const PrefixCode& prefix, int threads) {
  PrefixCodes all{OwnedArray<std::uint64_t>(column.length())};
  std::vector<Bounds> parts(static_cast<std::size_t>(threads));
  parallel(threads, [&](int part) {
    const Range rows = part_of(column.length(), threads, part);
    parts[static_cast<std::size_t>(part)] =
        encode_part(prefix, column, rows, all.codes.data() + rows.begin);
  });
  for (const Bounds& part : parts) {
    all.low = std::min(all.low, part.low);
    all.high = std::max(all.high, part.high);
  }
  return all;
}

}  // namespace elevon::kernel

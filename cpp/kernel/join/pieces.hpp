// Walks a range of rows of a chunked column, piece by piece: each piece lies in one chunk.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "arrow/view.hpp"
#include "kernel/base/parallel.hpp"

namespace elevon::kernel {

// Values of 16 bytes.
using Bytes16 = std::array<std::uint64_t, 2>;

// Calls f(array, begin, count, done): rows [begin, begin + count) of a chunk, after `done` rows.
template <typename F>
void for_pieces(const arrow::Column& column, Range rows, F&& f) {
  const auto& starts = column.starts();
  auto chunk = static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), rows.begin) -
                                        starts.begin() - 1);
  for (std::int64_t row = rows.begin; row < rows.end; ++chunk) {
    const std::int64_t end = std::min(rows.end, starts[chunk + 1]);
    f(*column.chunks()[chunk], row - starts[chunk], end - row, row - rows.begin);
    row = end;
  }
}

// Calls f(rows) for blocks of at most `size` rows.
template <typename F>
void for_blocks(Range rows, std::int64_t size, F&& f) {
  for (std::int64_t begin = rows.begin; begin < rows.end; begin += size) {
    f(Range{begin, std::min(rows.end, begin + size)});
  }
}

}  // namespace elevon::kernel

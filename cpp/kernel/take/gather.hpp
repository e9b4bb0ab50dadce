// The parts of `gather`, one per family of layouts.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "arrow/view.hpp"
#include "kernel/base/buffer.hpp"
#include "kernel/base/parallel.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {

// Chunks of one type with their rows numbered through; at least one chunk, which may be empty.
class Source {
 public:
  Source(arrow::TypePtr type, std::vector<arrow::ArrayPtr> chunks);
  explicit Source(const arrow::Column& column);

  [[nodiscard]] const arrow::Type& type() const { return *type_; }
  [[nodiscard]] const arrow::TypePtr& type_ptr() const { return type_; }
  [[nodiscard]] const std::vector<arrow::ArrayPtr>& chunks() const { return chunks_; }
  [[nodiscard]] const std::vector<std::int64_t>& starts() const { return starts_; }
  [[nodiscard]] bool has_nulls() const { return has_nulls_; }

 private:
  arrow::TypePtr type_;
  std::vector<arrow::ArrayPtr> chunks_;
  std::vector<std::int64_t> starts_;
  bool has_nulls_ = false;
};

// Where a row lies.
struct Place {
  std::size_t chunk;
  std::int64_t row;
};

// Finds rows where there is one chunk: at no cost.
class OneChunk {
 public:
  explicit OneChunk(const Source& /*source*/) {}
  [[nodiscard]] Place operator()(std::int64_t row) const { return {0, row}; }
};

// Finds rows among many chunks: a table by the row's high bits leads to the chunk, or to one a
// few before it. Binary search would cost a mispredicted branch per step.
class ManyChunks {
 public:
  explicit ManyChunks(const Source& source);
  [[nodiscard]] Place operator()(std::int64_t row) const {
    std::size_t chunk = first_[static_cast<std::size_t>(row >> shift_)];
    while (row >= starts_[chunk + 1]) ++chunk;
    return {chunk, row - starts_[chunk]};
  }

 private:
  const std::int64_t* starts_;
  int shift_ = 0;
  std::vector<std::uint32_t> first_;
};

// Calls f(rows, locate): rows is a pointer to 32- or 64-bit numbers, locate OneChunk or ManyChunks.
template <typename F>
decltype(auto) visit_rows(const Source& source, const Rows& rows, F&& f) {
  if (source.chunks().size() == 1) {
    return rows.visit([&](const auto* numbers) { return f(numbers, OneChunk(source)); });
  }
  return rows.visit([&](const auto* numbers) { return f(numbers, ManyChunks(source)); });
}

[[nodiscard]] constexpr bool is_missing(std::uint32_t row) {
  return row == kNoRow32;
}
[[nodiscard]] constexpr bool is_missing(std::int64_t row) {
  return row == kNoRow64;
}

// Thrown where the result's 32-bit offsets cannot address its bytes or values: `gather` answers by
// making several chunks. Never leaves it.
struct OffsetOverflow {};

struct Validity {
  arrow::Memory bits;  // empty where there are no nulls
  std::int64_t null_count = 0;
};

// A row is null where its number is missing or its source is null.
[[nodiscard]] Validity gather_validity(const Source& source, const Rows& rows, int threads);

// Any type; calls the functions below.
[[nodiscard]] arrow::ArrayPtr gather_array(const Source& source, const Rows& rows, int threads);

// Layout Fixed and Dictionary.
[[nodiscard]] arrow::ArrayPtr gather_fixed(const Source& source, const Rows& rows, int threads);
[[nodiscard]] arrow::ArrayPtr gather_bits(const Source& source, const Rows& rows, int threads);
// Layout Offsets32 and Offsets64, in two passes: sizes, then bytes.
[[nodiscard]] arrow::ArrayPtr gather_bytes(const Source& source, const Rows& rows, int threads);
// Views keep pointing into the source's data buffers, which the result keeps alive.
[[nodiscard]] arrow::ArrayPtr gather_views(const Source& source, const Rows& rows, int threads);
// Lists of all kinds, fixed-size lists, structs.
[[nodiscard]] arrow::ArrayPtr gather_nested(const Source& source, const Rows& rows, int threads);

// Offsets of a result whose row i has the size size_of(i): filled in parallel, checked for
// overflow. Returns the total.
template <typename Offset, typename SizeOf>
std::int64_t fill_offsets(OwnedArray<Offset>& offsets, std::int64_t rows, int threads,
                          SizeOf&& size_of) {
  std::vector<std::int64_t> sums(static_cast<std::size_t>(threads) + 1, 0);
  parallel(threads, [&](int worker) {
    const Range part = part_of(rows, threads, worker);
    std::int64_t sum = 0;
    for (std::int64_t row = part.begin; row < part.end; ++row) sum += size_of(row);
    sums[static_cast<std::size_t>(worker) + 1] = sum;
  });
  for (std::size_t index = 1; index < sums.size(); ++index) sums[index] += sums[index - 1];
  if (sums.back() > std::numeric_limits<Offset>::max()) throw OffsetOverflow{};
  parallel(threads, [&](int worker) {
    const Range part = part_of(rows, threads, worker);
    std::int64_t at = sums[static_cast<std::size_t>(worker)];
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      offsets[row] = static_cast<Offset>(at);
      at += size_of(row);
    }
  });
  offsets[rows] = static_cast<Offset>(sums.back());
  return sums.back();
}

}  // namespace elevon::kernel

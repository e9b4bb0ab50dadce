// Gathers utf8 and binary with offsets: sizes first, so that the bytes are written once, in place.

#include <algorithm>
#include <utility>

#include "kernel/base/config.hpp"
#include "kernel/base/small_copy.hpp"
#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

template <typename Offset>
std::vector<arrow::OffsetReader<Offset>> readers_of(const Source& source) {
  std::vector<arrow::OffsetReader<Offset>> readers;
  for (const auto& chunk : source.chunks()) readers.emplace_back(*chunk);
  return readers;
}

// Copies the strings of some rows to where their offsets say. They lie anywhere: without fetching
// them ahead each would be waited for.
template <typename Offset, typename Number, typename Locate>
void copy_strings(const std::vector<arrow::OffsetReader<Offset>>& readers, const Number* numbers,
                  const Locate& locate, Range part, const Offset* offsets, std::byte* bytes) {
  const auto value = [&](std::int64_t row) {
    const Place place = locate(static_cast<std::int64_t>(numbers[row]));
    return readers[place.chunk](place.row).data();
  };
  for (std::int64_t row = part.begin; row < part.end; ++row) {
    const std::int64_t ahead = std::min(row + config::kPrefetchDistance, part.end - 1);
    if (!is_missing(numbers[ahead])) __builtin_prefetch(value(ahead));
    if (is_missing(numbers[row])) continue;
    small_copy(bytes + offsets[row], value(row), offsets[row + 1] - offsets[row]);
  }
}

template <typename Offset, typename Number, typename Locate>
std::vector<arrow::Memory> gather_strings(const Source& source, std::int64_t rows,
                                          const Number* numbers, const Locate& locate,
                                          int threads) {
  const auto readers = readers_of<Offset>(source);
  OwnedArray<Offset> offsets(rows + 1);
  const std::int64_t total = fill_offsets(offsets, rows, threads, [&](std::int64_t row) {
    if (is_missing(numbers[row])) return std::int64_t{0};
    const Place place = locate(static_cast<std::int64_t>(numbers[row]));
    return readers[place.chunk].size(place.row);
  });
  Buffer bytes(total);
  parallel(threads, [&](int worker) {
    copy_strings(readers, numbers, locate, part_of(rows, threads, worker), offsets.data(),
                 bytes.data());
  });
  return {share(std::move(offsets)), share(std::move(bytes))};
}

}  // namespace

arrow::ArrayPtr gather_bytes(const Source& source, const Rows& rows, int threads) {
  const bool narrow = source.type().layout == arrow::Layout::Offsets32;
  std::vector<arrow::Memory> buffers =
      visit_rows(source, rows, [&](const auto* numbers, const auto& locate) {
        return narrow ? gather_strings<std::int32_t>(source, rows.size(), numbers, locate, threads)
                      : gather_strings<std::int64_t>(source, rows.size(), numbers, locate, threads);
      });
  Validity validity = gather_validity(source, rows, threads);
  return make_array(source.type_ptr(), rows.size(), validity.null_count, std::move(validity.bits),
                    std::move(buffers));
}

}  // namespace elevon::kernel

// Gathers utf8 and binary with offsets: sizes first, so that the bytes are written once, in place.
// Before it: gather.hpp.

#include <utility>

#include "kernel/gather.hpp"
#include "kernel/small_copy.hpp"

namespace elevon::kernel {
namespace {

template <typename Offset>
std::vector<arrow::OffsetReader<Offset>> readers_of(const Source& source) {
  std::vector<arrow::OffsetReader<Offset>> readers;
  for (const auto& chunk : source.chunks()) readers.emplace_back(*chunk);
  return readers;
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
    const Range part = part_of(rows, threads, worker);
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      if (is_missing(numbers[row])) continue;
      const Place place = locate(static_cast<std::int64_t>(numbers[row]));
      small_copy(bytes.data() + offsets[row], readers[place.chunk](place.row).data(),
                 offsets[row + 1] - offsets[row]);
    }
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

// Gathers fixed-width values, bits, views and null bitmaps.

#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

#include "kernel/base/config.hpp"
#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

// A value of any width, moved as bytes: no alignment is asked for.
template <std::size_t Width>
struct Value {
  std::array<std::byte, Width> bytes;
};

template <std::size_t Width>
const Value<Width>* values_of(const arrow::Array& array) {
  return reinterpret_cast<const Value<Width>*>(array.buffers[0]) + array.offset;
}

template <std::size_t Width, typename Number, typename Locate>
void copy_values(const Source& source, const Number* rows, const Locate& locate, Range part,
                 std::byte* out) {
  std::vector<const Value<Width>*> bases;
  for (const auto& chunk : source.chunks()) bases.push_back(values_of<Width>(*chunk));
  const Value<Width>* const first = bases.front();
  auto* target = reinterpret_cast<Value<Width>*>(out);
  for (std::int64_t at = part.begin; at < part.end; ++at) {
    if (is_missing(rows[at])) {
      target[at] = {};
      continue;
    }
    const Place place = locate(static_cast<std::int64_t>(rows[at]));
    if constexpr (std::is_same_v<Locate, OneChunk>) {
      target[at] = first[place.row];  // `bases` would be read again after every store
    } else {
      target[at] = bases[place.chunk][place.row];
    }
  }
}

template <typename Number, typename Locate>
void copy_any_width(const Source& source, const Number* rows, const Locate& locate, Range part,
                    std::byte* out) {
  const auto width = static_cast<std::size_t>(source.type().width);
  for (std::int64_t at = part.begin; at < part.end; ++at) {
    std::byte* target = out + static_cast<std::size_t>(at) * width;
    if (is_missing(rows[at])) {
      std::memset(target, 0, width);
      continue;
    }
    const Place place = locate(static_cast<std::int64_t>(rows[at]));
    const arrow::Array& chunk = *source.chunks()[place.chunk];
    const auto row = static_cast<std::size_t>(chunk.offset + place.row);
    std::memcpy(target, chunk.buffers[0] + row * width, width);
  }
}

template <typename Number, typename Locate>
void copy_fixed(const Source& source, const Number* rows, const Locate& locate, Range part,
                std::byte* out) {
  switch (source.type().width) {
    case 1: return copy_values<1>(source, rows, locate, part, out);
    case 2: return copy_values<2>(source, rows, locate, part, out);
    case 4: return copy_values<4>(source, rows, locate, part, out);
    case 8: return copy_values<8>(source, rows, locate, part, out);
    case 16: return copy_values<16>(source, rows, locate, part, out);
    default: return copy_any_width(source, rows, locate, part, out);
  }
}

// Sets bit i to test(i) for the rows of the part, which begins on a whole word; returns how many
// are set.
template <typename Test>
std::int64_t write_bits(Range part, std::uint64_t* words, Test&& test) {
  std::int64_t ones = 0;
  for (std::int64_t row = part.begin; row < part.end; row += 64) {
    const std::int64_t count = std::min<std::int64_t>(64, part.end - row);
    std::uint64_t word = 0;
    for (std::int64_t bit = 0; bit < count; ++bit) {
      word |= std::uint64_t{test(row + bit)} << static_cast<unsigned>(bit);
    }
    words[row / 64] = word;
    ones += std::popcount(word);
  }
  return ones;
}

// A bitmap of test(place) for each row that is not missing; missing rows have 0.
template <typename Test>
std::pair<Buffer, std::int64_t> gather_bitmap(const Source& source, const Rows& rows, int threads,
                                              Test&& test) {
  Buffer bits((rows.size() + 63) / 64 * 8);
  std::vector<std::int64_t> ones(static_cast<std::size_t>(threads));
  visit_rows(source, rows, [&](const auto* numbers, const auto& locate) {
    parallel(threads, [&](int worker) {
      ones[static_cast<std::size_t>(worker)] = write_bits(
          part_of(rows.size(), threads, worker), bits.as<std::uint64_t>(), [&](std::int64_t row) {
            if (is_missing(numbers[row])) return false;
            return test(locate(static_cast<std::int64_t>(numbers[row])));
          });
    });
  });
  std::int64_t total = 0;
  for (const std::int64_t count : ones) total += count;
  return {std::move(bits), total};
}

// Where each chunk's data buffers begin among those of the result.
std::vector<std::int32_t> first_buffers(const Source& source) {
  std::vector<std::int32_t> firsts;
  std::size_t count = 0;
  for (const auto& chunk : source.chunks()) {
    firsts.push_back(static_cast<std::int32_t>(count));
    count += chunk->data_buffers.size();
  }
  return firsts;
}

template <typename Number, typename Locate>
void copy_views(const Source& source, const Number* rows, const Locate& locate, Range part,
                arrow::View* out) {
  const std::vector<std::int32_t> firsts = first_buffers(source);
  for (std::int64_t at = part.begin; at < part.end; ++at) {
    out[at] = {};
    if (is_missing(rows[at])) continue;
    const Place place = locate(static_cast<std::int64_t>(rows[at]));
    out[at] = source.chunks()[place.chunk]->template values<arrow::View>()[place.row];
    if (out[at].length > arrow::View::kInline) out[at].buffer += firsts[place.chunk];
  }
}

}  // namespace

Validity gather_validity(const Source& source, const Rows& rows, int threads) {
  if (!source.has_nulls() && !rows.may_miss()) return {};
  auto [bits, valid] = gather_bitmap(source, rows, threads, [&](Place place) {
    return source.chunks()[place.chunk]->is_valid(place.row);
  });
  if (valid == rows.size()) return {};
  return {share(std::move(bits)), rows.size() - valid};
}

arrow::ArrayPtr gather_fixed(const Source& source, const Rows& rows, int threads) {
  Validity validity = gather_validity(source, rows, threads);
  Buffer values(rows.size() * source.type().width);
  visit_rows(source, rows, [&](const auto* numbers, const auto& locate) {
    parallel(threads, [&](int worker) {
      copy_fixed(source, numbers, locate, part_of(rows.size(), threads, worker), values.data());
    });
  });
  return make_array(source.type_ptr(), rows.size(), validity.null_count, std::move(validity.bits),
                    {share(std::move(values))});
}

arrow::ArrayPtr gather_bits(const Source& source, const Rows& rows, int threads) {
  Validity validity = gather_validity(source, rows, threads);
  auto [bits, ones] = gather_bitmap(source, rows, threads, [&](Place place) {
    return source.chunks()[place.chunk]->bit(place.row);
  });
  return make_array(source.type_ptr(), rows.size(), validity.null_count, std::move(validity.bits),
                    {share(std::move(bits))});
}

arrow::ArrayPtr gather_views(const Source& source, const Rows& rows, int threads) {
  Validity validity = gather_validity(source, rows, threads);
  OwnedArray<arrow::View> views(rows.size());
  visit_rows(source, rows, [&](const auto* numbers, const auto& locate) {
    parallel(threads, [&](int worker) {
      copy_views(source, numbers, locate, part_of(rows.size(), threads, worker), views.data());
    });
  });
  std::vector<arrow::Memory> buffers{share(std::move(views))};
  for (const auto& chunk : source.chunks()) {
    for (const auto& data : chunk->data_buffers) {
      buffers.push_back({data.data(), std::ssize(data), chunk});
    }
  }
  return make_array(source.type_ptr(), rows.size(), validity.null_count, std::move(validity.bits),
                    std::move(buffers));
}

}  // namespace elevon::kernel

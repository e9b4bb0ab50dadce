// Hashes key rows block by block.

#include "kernel/keys/hash.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "kernel/base/config.hpp"
#include "kernel/base/half.hpp"
#include "kernel/keys/hash_simd.hpp"

namespace elevon::kernel {
namespace {

using arrow::Array;
using arrow::Kind;
using arrow::Layout;

__extension__ using Wide = unsigned __int128;

// wyhash's secrets (Wang Yi, public domain).
constexpr std::uint64_t kSecret0 = 0xA0761D6478BD642FULL;
constexpr std::uint64_t kSecret1 = 0xE7037ED1A0B428DBULL;
constexpr std::uint64_t kSecret2 = 0x8EBC6AF09C88C6E3ULL;

std::uint64_t multiply_fold(std::uint64_t left, std::uint64_t right) {
  const Wide product = static_cast<Wide>(left) * right;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

template <typename T>
std::uint64_t read(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

struct Ends {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};

// All bytes of at most 16, in two words that may overlap.
Ends read_short(const char* data, std::size_t size) {
  if (size >= 8) return {read<std::uint64_t>(data), read<std::uint64_t>(data + size - 8)};
  if (size >= 4) return {read<std::uint32_t>(data), read<std::uint32_t>(data + size - 4)};
  if (size == 0) return {};
  const std::uint64_t first = read<std::uint8_t>(data);
  const std::uint64_t middle = read<std::uint8_t>(data + size / 2);
  return {first << 8 | middle, read<std::uint8_t>(data + size - 1)};
}

// The word of an integer of `words` 64-bit words: one that fits 64 bits hashes as that integer.
std::uint64_t integer_word(const std::uint64_t* words, int count) {
  std::uint64_t rest = 0;
  for (int index = count - 1; index > 0; --index) {
    const std::uint64_t sign = 0 - (words[index - 1] >> 63);
    rest = combine(rest, words[index] - sign);
  }
  return words[0] ^ rest;
}

// Calls sink(row, word) for rows [begin, end).
template <typename Read, typename Sink>
void each(const Array& array, Range rows, Read&& read_word, Sink&& sink) {
  if (array.validity == nullptr) {
    for (std::int64_t row = rows.begin; row < rows.end; ++row) sink(row, read_word(row));
    return;
  }
  for (std::int64_t row = rows.begin; row < rows.end; ++row) {
    sink(row, array.is_valid(row) ? read_word(row) : kNullWord);
  }
}

// Signed values are extended by their sign, so that every width hashes alike.
template <typename T, typename Sink>
void each_integer(const Array& array, Range rows, Sink&& sink) {
  const T* values = array.values<T>();
  each(
      array, rows,
      [values](std::int64_t row) {
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(values[row]));
      },
      sink);
}

template <typename Sink>
void each_signed(const Array& array, Range rows, Sink&& sink) {
  switch (array.type->width) {
    case 1: return each_integer<std::int8_t>(array, rows, sink);
    case 2: return each_integer<std::int16_t>(array, rows, sink);
    case 4: return each_integer<std::int32_t>(array, rows, sink);
    default: return each_integer<std::int64_t>(array, rows, sink);
  }
}

template <typename Sink>
void each_unsigned(const Array& array, Range rows, Sink&& sink) {
  switch (array.type->width) {
    case 1: return each_integer<std::uint8_t>(array, rows, sink);
    case 2: return each_integer<std::uint16_t>(array, rows, sink);
    case 4: return each_integer<std::uint32_t>(array, rows, sink);
    default: return each_integer<std::uint64_t>(array, rows, sink);
  }
}

template <typename T, typename Sink>
void each_float(const Array& array, Range rows, Sink&& sink) {
  const T* values = array.values<T>();
  each(
      array, rows, [values](std::int64_t row) { return float_word(to_double(values[row])); }, sink);
}

template <typename Sink>
void each_floating(const Array& array, Range rows, Sink&& sink) {
  switch (array.type->width) {
    case 2: return each_float<Half>(array, rows, sink);
    case 4: return each_float<float>(array, rows, sink);
    default: return each_float<double>(array, rows, sink);
  }
}

template <typename Sink>
void each_wide_integer(const Array& array, Range rows, Sink&& sink) {
  const int count = array.type->width / 8;
  const std::uint64_t* words =
      reinterpret_cast<const std::uint64_t*>(array.buffers[0]) + array.offset * count;
  each(
      array, rows,
      [words, count](std::int64_t row) { return integer_word(words + row * count, count); }, sink);
}

template <typename Sink>
void each_bytes(const Array& array, Range rows, Sink&& sink) {
  arrow::visit_binary(array, [&](const auto& reader) {
    each(array, rows, [&reader](std::int64_t row) { return bytes_word(reader(row)); }, sink);
  });
}

template <typename Sink>
void each_fixed(const Array& array, Range rows, Sink&& sink) {
  const arrow::Type& type = *array.type;
  if (type.kind == Kind::Float) return each_floating(array, rows, sink);
  if (type.kind == Kind::FixedBinary) return each_bytes(array, rows, sink);
  if (type.width > 8) return each_wide_integer(array, rows, sink);
  return type.is_signed ? each_signed(array, rows, sink) : each_unsigned(array, rows, sink);
}

// The word of each row of an array that is no dictionary.
template <typename Sink>
void each_word(const Array& array, Range rows, Sink&& sink) {
  switch (array.type->layout) {
    case Layout::Null:
      for (std::int64_t row = rows.begin; row < rows.end; ++row) sink(row, kNullWord);
      return;
    case Layout::Bits:
      return each(
          array, rows, [&array](std::int64_t row) { return std::uint64_t{array.bit(row)}; }, sink);
    case Layout::Fixed: return each_fixed(array, rows, sink);
    default: return each_bytes(array, rows, sink);
  }
}

template <typename Index, typename Sink>
void each_index(const Array& array, Range rows, const std::uint64_t* words, Sink&& sink) {
  const Index* indices = array.values<Index>();
  each(array, rows, [=](std::int64_t row) { return words[indices[row]]; }, sink);
}

// Indices were checked to be in range, so their sign does not matter.
template <typename Sink>
void each_dictionary_word(const Array& array, Range rows, const std::uint64_t* words, Sink&& sink) {
  switch (array.type->width) {
    case 1: return each_index<std::uint8_t>(array, rows, words, sink);
    case 2: return each_index<std::uint16_t>(array, rows, words, sink);
    case 4: return each_index<std::uint32_t>(array, rows, words, sink);
    default: return each_index<std::uint64_t>(array, rows, words, sink);
  }
}

// The words of some rows: where the values are words already, they are not copied.
const std::uint64_t* words_of(const Array& array, Range rows, const std::uint64_t* dictionary,
                              std::uint64_t* out) {
  if (array.type->is_integral() && array.type->width == 8 && array.validity == nullptr) {
    return array.values<std::uint64_t>() + rows.begin;
  }
  const auto sink = [out, &rows](std::int64_t row, std::uint64_t word) {
    out[row - rows.begin] = word;
  };
  if (array.type->layout == Layout::Dictionary) {
    each_dictionary_word(array, rows, dictionary, sink);
  } else {
    each_word(array, rows, sink);
  }
  return out;
}

bool is_hashable(const arrow::Type& type) {
  return type.layout == Layout::Null || type.layout == Layout::Bits ||
         type.layout == Layout::Fixed || type.is_binary();
}

OwnedArray<std::uint64_t> hash_dictionary(const arrow::Column& column) {
  if (column.type().layout != Layout::Dictionary) return {};
  const Array& dictionary = *column.dictionary();
  OwnedArray<std::uint64_t> words(dictionary.length);
  each_word(dictionary, {0, dictionary.length},
            [&](std::int64_t row, std::uint64_t word) { words[row] = word; });
  return words;
}

void check_hashable(const arrow::Column& column) {
  const arrow::Type& type = column.type();
  const bool dictionary = type.layout == Layout::Dictionary;
  if (!is_hashable(dictionary ? *type.dictionary : type)) {
    throw std::invalid_argument("column '" + column.field().name + "' of type " + describe(type) +
                                " cannot be a key");
  }
}

// Calls f(chunk, rows of the chunk, first row in the block) for every chunk that `rows` meets.
template <typename F>
void each_chunk(const arrow::Column& column, Range rows, F&& f) {
  const auto& starts = column.starts();
  auto at = static_cast<std::size_t>(std::upper_bound(starts.begin(), starts.end(), rows.begin) -
                                     starts.begin() - 1);
  for (std::int64_t row = rows.begin; row < rows.end; ++at) {
    const std::int64_t end = std::min(rows.end, starts[at + 1]);
    f(*column.chunks()[at], Range{row - starts[at], end - starts[at]}, row - rows.begin);
    row = end;
  }
}

}  // namespace

std::uint64_t bytes_word(std::string_view bytes) {
  const char* data = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t state = kSecret0;
  for (; left > 16; left -= 16, data += 16) {
    state =
        multiply_fold(read<std::uint64_t>(data) ^ kSecret1, read<std::uint64_t>(data + 8) ^ state);
  }
  const Ends ends = read_short(data, left);
  state = multiply_fold(ends.first ^ kSecret1, ends.last ^ state);
  return multiply_fold(state ^ kSecret2, bytes.size() ^ kSecret1);
}

RowHasher::RowHasher(std::span<const arrow::Column* const> keys) {
  for (const arrow::Column* column : keys) {
    check_hashable(*column);
    keys_.push_back({column, hash_dictionary(*column)});
  }
}

void RowHasher::operator()(Range rows, std::uint64_t* out) const {
  std::array<std::uint64_t, config::kHashBlock> words;
  std::fill_n(out, rows.size(), kHashSeed);
  for (const Key& key : keys_) {
    each_chunk(*key.column, rows, [&](const Array& chunk, Range part, std::int64_t first) {
      for (std::int64_t row = part.begin; row < part.end; row += config::kHashBlock) {
        const Range step{row, std::min(part.end, row + config::kHashBlock)};
        const std::uint64_t* found =
            words_of(chunk, step, key.dictionary_words.data(), words.data());
        combine_words(found, step.size(), out + first + (row - part.begin));
      }
    });
  }
}

OwnedArray<std::uint64_t> hash_rows(std::span<const arrow::Column* const> keys, int threads) {
  const std::int64_t rows = keys.empty() ? 0 : keys.front()->length();
  const RowHasher hasher(keys);
  OwnedArray<std::uint64_t> hashes(rows);
  const int workers = useful_threads(rows, threads);
  parallel(workers, [&](int worker) {
    const Range part = part_of(rows, workers, worker);
    for (std::int64_t row = part.begin; row < part.end; row += config::kHashBlock) {
      const Range block{row, std::min(part.end, row + config::kHashBlock)};
      hasher(block, hashes.data() + row);
    }
  });
  return hashes;
}

}  // namespace elevon::kernel

// Reads integers, floats, bools, short strings, decimals and dictionary numbers.

#include "kernel/join/readers.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "kernel/keys/hash.hpp"
#include "kernel/keys/prefix_columns.hpp"

namespace elevon::kernel {

using arrow::Array;
using arrow::Column;
using arrow::Kind;
using arrow::Layout;
using arrow::Type;

namespace {

constexpr std::int64_t kShortBytes = 7;

template <typename T>
class IntegerWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    const T* values = array.values<T>() + begin;
    for (std::int64_t i = 0; i < count; ++i) out[i] = static_cast<std::uint64_t>(values[i]);
  }
  const std::uint64_t* in_place(const Array& array, std::int64_t begin) const override {
    if constexpr (sizeof(T) == sizeof(std::uint64_t)) {
      return array.values<std::uint64_t>() + begin;
    }
    return nullptr;
  }
};

class DoubleWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    const double* values = array.values<double>() + begin;
    for (std::int64_t i = 0; i < count; ++i) out[i] = float_word(values[i]);
  }
};

class FloatWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    const float* values = array.values<float>() + begin;
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = values[i];
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(value == 0.0F ? 0.0F : value);
      out[i] = value != value ? 0x7FC00000U : bits;
    }
  }
};

class HalfWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    const std::uint16_t* values = array.values<std::uint16_t>() + begin;
    for (std::int64_t i = 0; i < count; ++i) {
      const unsigned magnitude = values[i] & 0x7FFFU;
      const unsigned bits = magnitude == 0 ? 0U : values[i];
      out[i] = magnitude > 0x7C00U ? 0x7E00U : bits;
    }
  }
};

class BitWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    for (std::int64_t i = 0; i < count; ++i) out[i] = array.bit(begin + i) ? 1 : 0;
  }
};

class NullWords final : public WordReader {
 public:
  void read(const Array&, std::int64_t, std::int64_t count, std::uint64_t* out) const override {
    std::fill_n(out, count, 0);
  }
  void mark_nulls(const Array&, std::int64_t, std::int64_t count,
                  std::uint8_t* out) const override {
    std::fill_n(out, count, std::uint8_t{1});
  }
  bool hides_nulls() const override { return true; }
};

class ShortStringWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    arrow::visit_binary(array, [&](const auto& reader) {
      for (std::int64_t i = 0; i < count; ++i) out[i] = word(reader(begin + i));
    });
  }

 private:
  // A null row may have any length; its word does not matter, but must not overrun.
  static std::uint64_t word(std::string_view value) {
    const std::size_t size = std::min(value.size(), static_cast<std::size_t>(kShortBytes));
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, value.data(), size);
    return bytes | static_cast<std::uint64_t>(size) << 56;
  }
};

// Codes are made once: reading the values again costs more than 8 bytes a row.
class PrefixWords final : public WordReader {
 public:
  PrefixWords(const Column& column, const PrefixCode& prefix, int threads)
      : codes_(encode_prefix(column, prefix, threads).codes) {
    for (std::size_t i = 0; i < column.chunks().size(); ++i) {
      starts_.emplace(column.chunks()[i].get(), column.starts()[i]);
    }
  }

  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    std::copy_n(in_place(array, begin), count, out);
  }
  const std::uint64_t* in_place(const Array& array, std::int64_t begin) const override {
    return codes_.data() + starts_.at(&array) + begin;
  }

 private:
  OwnedArray<std::uint64_t> codes_;
  std::unordered_map<const Array*, std::int64_t> starts_;
};

class NarrowDecimalWords final : public WordReader {
 public:
  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    const std::uint64_t* values = array.values<std::array<std::uint64_t, 2>>()[begin].data();
    for (std::int64_t i = 0; i < count; ++i) out[i] = values[2 * i];
  }
};

// The index stands for a value, and the value for its number in both dictionaries.
template <typename Index>
void read_numbers(const Array& array, std::int64_t begin, std::int64_t count,
                  const std::vector<std::uint64_t>& numbers, std::uint64_t* out) {
  const Index* indices = array.values<Index>() + begin;
  for (std::int64_t i = 0; i < count; ++i) {
    // A null row may hold any index.
    const auto index = static_cast<std::uint64_t>(indices[i]);
    out[i] = index < numbers.size() ? numbers[index] : 0;
  }
}

class DictionaryWords final : public WordReader {
 public:
  DictionaryWords(std::vector<std::uint64_t> numbers, bool has_nulls)
      : numbers_(std::move(numbers)), has_nulls_(has_nulls) {}

  void read(const Array& array, std::int64_t begin, std::int64_t count,
            std::uint64_t* out) const override {
    switch (array.type->width) {
      case 1: return read_numbers<std::uint8_t>(array, begin, count, numbers_, out);
      case 2: return read_numbers<std::uint16_t>(array, begin, count, numbers_, out);
      case 4: return read_numbers<std::uint32_t>(array, begin, count, numbers_, out);
      default: return read_numbers<std::uint64_t>(array, begin, count, numbers_, out);
    }
  }
  void mark_nulls(const Array& array, std::int64_t begin, std::int64_t count,
                  std::uint8_t* out) const override {
    WordReader::mark_nulls(array, begin, count, out);
    if (!has_nulls_) return;
    std::vector<std::uint64_t> words(static_cast<std::size_t>(count));
    read(array, begin, count, words.data());
    for (std::int64_t i = 0; i < count; ++i) {
      if (words[static_cast<std::size_t>(i)] == kNullNumber) out[i] = 1;
    }
  }
  bool hides_nulls() const override { return has_nulls_; }

  static constexpr std::uint64_t kNullNumber = ~std::uint64_t{0};

 private:
  std::vector<std::uint64_t> numbers_;
  bool has_nulls_;
};

using Numbering = std::unordered_map<std::string_view, std::uint64_t>;

WordReaderPtr number_values(const Array& dictionary, Numbering& numbering) {
  std::vector<std::uint64_t> numbers(static_cast<std::size_t>(dictionary.length));
  for (std::int64_t row = 0; row < dictionary.length; ++row) {
    std::uint64_t& number = numbers[static_cast<std::size_t>(row)];
    number = DictionaryWords::kNullNumber;
    if (!dictionary.is_valid(row)) continue;
    const std::string_view value =
        arrow::visit_binary(dictionary, [&](const auto& reader) { return reader(row); });
    number = numbering.try_emplace(value, numbering.size()).first->second;
  }
  return std::make_unique<DictionaryWords>(std::move(numbers), dictionary.null_count > 0);
}

template <typename Signed, typename Unsigned>
WordReaderPtr integer_reader(const Type& type) {
  const bool is_signed = type.is_signed && type.kind != Kind::FixedBinary;
  if (is_signed) return std::make_unique<IntegerWords<Signed>>();
  return std::make_unique<IntegerWords<Unsigned>>();
}

WordReaderPtr fixed_reader(const Type& type) {
  switch (type.width) {
    case 1: return integer_reader<std::int8_t, std::uint8_t>(type);
    case 2: return integer_reader<std::int16_t, std::uint16_t>(type);
    case 4: return integer_reader<std::int32_t, std::uint32_t>(type);
    case 8: return integer_reader<std::int64_t, std::uint64_t>(type);
    default: break;
  }
  const bool is_short = type.kind == Kind::FixedBinary && type.width <= kShortBytes;
  return is_short ? short_string_reader() : nullptr;
}

WordReaderPtr float_reader(const Type& type) {
  switch (type.width) {
    case 2: return std::make_unique<HalfWords>();
    case 4: return std::make_unique<FloatWords>();
    default: return std::make_unique<DoubleWords>();
  }
}

template <typename F>
bool all_chunks(const Column& column, F&& holds) {
  return std::all_of(column.chunks().begin(), column.chunks().end(),
                     [&](const arrow::ArrayPtr& chunk) { return holds(*chunk); });
}

}  // namespace

WordReaderPtr plain_reader(const Type& type) {
  switch (type.layout) {
    case Layout::Null: return std::make_unique<NullWords>();
    case Layout::Bits: return std::make_unique<BitWords>();
    case Layout::Fixed: return type.kind == Kind::Float ? float_reader(type) : fixed_reader(type);
    default: return nullptr;
  }
}

WordReaderPtr prefix_reader(const Column& column, const PrefixCode& prefix, int threads) {
  return std::make_unique<PrefixWords>(column, prefix, threads);
}

bool has_short_values(const Column& column) {
  return all_chunks(column, [](const Array& array) {
    return arrow::visit_binary(array, [&](const auto& reader) {
      std::int64_t row = 0;
      while (row < array.length && reader.size(row) <= kShortBytes) ++row;
      return row == array.length;
    });
  });
}

WordReaderPtr short_string_reader() {
  return std::make_unique<ShortStringWords>();
}

bool has_narrow_decimals(const Column& column) {
  return all_chunks(column, [](const Array& array) {
    const auto* values = array.values<std::array<std::int64_t, 2>>();
    std::int64_t row = 0;
    while (row < array.length && values[row][1] == values[row][0] >> 63) ++row;
    return row == array.length;
  });
}

WordReaderPtr narrow_decimal_reader() {
  return std::make_unique<NarrowDecimalWords>();
}

std::pair<WordReaderPtr, WordReaderPtr> dictionary_readers(const Array& left, const Array& right) {
  Numbering numbering;
  auto left_reader = number_values(left, numbering);
  auto right_reader = number_values(right, numbering);
  return {std::move(left_reader), std::move(right_reader)};
}

}  // namespace elevon::kernel

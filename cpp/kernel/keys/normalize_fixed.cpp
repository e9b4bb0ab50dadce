// Codes of fixed-width keys: integers, floats, bool, dates and times, decimals; null flags.

#include <bit>
#include <limits>
#include <type_traits>

#include "kernel/keys/normalize_key.hpp"

namespace elevon::kernel {
namespace {

// How a stored value becomes a number in order. `kNan` says whether some values are no number.
template <typename T>
struct IntegerOrder {
  using Value = T;
  static constexpr bool kNan = false;
  static constexpr Code kFlip = std::is_signed_v<T> ? Code{1} << 63 : 0;
  [[nodiscard]] static Code of(T value) {
    return static_cast<Code>(static_cast<std::int64_t>(value)) ^ kFlip;
  }
  [[nodiscard]] static T back(Code number) { return static_cast<T>(number ^ kFlip); }
};

// Floats by their bits (U is the unsigned integer of their width): negative ones are inverted,
// the others get the highest bit; -0.0 is 0.0. kInfinity is the pattern of +inf.
template <typename U, U kInfinity>
struct FloatOrder {
  using Value = U;
  static constexpr bool kNan = true;
  static constexpr U kSign = static_cast<U>(U{1} << (sizeof(U) * 8 - 1));
  [[nodiscard]] static bool is_nan(U bits) { return static_cast<U>(bits & ~kSign) > kInfinity; }
  [[nodiscard]] static Code of(U bits) {
    const U value = static_cast<U>(bits & ~kSign) == 0 ? U{0} : bits;
    return static_cast<U>((value & kSign) != 0 ? ~value : value | kSign);
  }
};

// Smallest and largest number seen; low > high: none was.
struct Bounds {
  Code low = std::numeric_limits<Code>::max();
  Code high = 0;
  bool nan = false;

  void add(Code number) {
    low = std::min(low, number);
    high = std::max(high, number);
  }
  void add(const Bounds& other) {
    low = std::min(low, other.low);
    high = std::max(high, other.high);
    nan |= other.nan;
  }
  [[nodiscard]] bool empty() const { return low > high; }
};

// Where a coder finds its values: every `stride`-th from `first` on, in units of the value.
struct Lane {
  std::int64_t stride = 1;
  std::int64_t first = 0;
};

// A number becomes a code by the distance from the end where the order begins. Loops copy it to
// a local: the compiler cannot know that the codes they write are not its members.
template <typename Order>
struct CodeMap {
  using Value = typename Order::Value;
  Code flip = 0;
  Code base = 0;
  Code nan = 0;

  [[nodiscard]] Code code(Value value) const { return (number(value) ^ flip) - base; }
  [[nodiscard]] Value value(Code code) const { return Order::back((code + base) ^ flip); }

 private:
  [[nodiscard]] Code number(Value value) const {
    if constexpr (Order::kNan) return Order::is_nan(value) ? nan : Order::of(value);
    return Order::of(value);
  }
};

template <typename Order, bool kStrided>
class FixedCoder final : public KeyCoder {
 public:
  using Value = typename Order::Value;

  FixedCoder(const SortKey& key, Lane lane, int threads)
      : column_(*key.column), lane_(lane), ascending_(key.ascending) {
    Bounds bounds = scan(threads);
    if (bounds.nan) bounds = place_nan(bounds, key.nulls_first != key.ascending);
    if (bounds.empty()) bounds = {.low = 0, .high = 0, .nan = false};
    map_.flip = ascending_ ? 0 : ~Code{0};
    map_.base = ascending_ ? bounds.low : ~bounds.high;
    bits_ = static_cast<int>(std::bit_width(bounds.high - bounds.low));
  }

  void encode(Range rows, Code* out) const override {
    for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t at) {
      const CodeMap<Order> map = map_;
      const Value* values = values_of(array) + place(in.begin);
      Code* codes = out + at;
      for (std::int64_t i = 0; i < in.size(); ++i) codes[i] = map.code(values[place(i)]);
      clear_nulls(array, in, codes);
    });
  }

  void encode_rows(std::span<const std::int64_t> rows, std::int64_t /*depth*/,
                   Code* out) const override {
    ChunkFinder finder(column_);
    for (const std::int64_t row : rows) {
      const auto found = finder.find(row);
      const arrow::Array& array = *column_.chunks()[found.chunk];
      *out++ = array.is_valid(found.row) ? map_.code(values_of(array)[place(found.row)]) : 0;
    }
  }

  [[nodiscard]] bool decodable() const override {
    return !Order::kNan && !kStrided && column_.null_count() == 0;
  }

  void decode(const Code* codes, std::int64_t count, std::byte* out) const override {
    if constexpr (!Order::kNan) {
      const CodeMap<Order> map = map_;
      auto* values = reinterpret_cast<Value*>(out);
      for (std::int64_t i = 0; i < count; ++i) values[i] = map.value(codes[i]);
    }
  }

 private:
  [[nodiscard]] std::int64_t place(std::int64_t row) const {
    return kStrided ? row * lane_.stride : row;
  }
  [[nodiscard]] const Value* values_of(const arrow::Array& array) const {
    const auto* values = reinterpret_cast<const Value*>(array.buffers[0]);
    return values + array.offset * (kStrided ? lane_.stride : 1) + lane_.first;
  }
  // NaN comes after every number next to nulls last, before every number next to nulls first:
  // one step above or below the numbers, which never fill the width of a float.
  Bounds place_nan(Bounds bounds, bool above) {
    if (bounds.empty()) bounds.low = bounds.high = 1;
    map_.nan = above ? ++bounds.high : --bounds.low;
    return bounds;
  }

  Bounds scan(int threads) const {
    std::vector<Bounds> parts(static_cast<std::size_t>(threads));
    parallel(threads, [&](int part) {
      Bounds bounds;
      for_chunks(
          column_, part_of(column_.length(), threads, part),
          [&](const arrow::Array& array, Range in, std::int64_t) { scan(array, in, bounds); });
      parts[static_cast<std::size_t>(part)] = bounds;
    });
    Bounds all;
    for (const Bounds& part : parts) all.add(part);
    return all;
  }

  void scan(const arrow::Array& array, Range rows, Bounds& bounds) const {
    const Value* values = values_of(array);
    const bool skip = array.null_count > 0;
    Bounds found = bounds;
    for (std::int64_t row = rows.begin; row < rows.end; ++row) {
      if (skip && !array.is_valid(row)) continue;
      const Value value = values[place(row)];
      if constexpr (Order::kNan) {
        if (Order::is_nan(value)) {
          found.nan = true;
          continue;
        }
      }
      found.add(Order::of(value));
    }
    bounds = found;
  }

  const arrow::Column& column_;
  Lane lane_;
  bool ascending_;
  CodeMap<Order> map_;
};

// One bit per row: a bool column, or the flag that tells nulls from values.
class BitCoder final : public KeyCoder {
 public:
  // Bits are those of the values, or of the validity; `inverted` codes a set bit as 0.
  BitCoder(const arrow::Column& column, bool of_validity, bool inverted)
      : column_(column), of_validity_(of_validity), inverted_(inverted) {
    bits_ = 1;
  }

  void encode(Range rows, Code* out) const override {
    for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t at) {
      for (std::int64_t row = in.begin; row < in.end; ++row) {
        out[at + row - in.begin] = code(array, row);
      }
    });
  }

  void encode_rows(std::span<const std::int64_t> rows, std::int64_t /*depth*/,
                   Code* out) const override {
    ChunkFinder finder(column_);
    for (const std::int64_t row : rows) {
      const auto found = finder.find(row);
      *out++ = code(*column_.chunks()[found.chunk], found.row);
    }
  }

 private:
  [[nodiscard]] Code code(const arrow::Array& array, std::int64_t row) const {
    const bool valid = array.is_valid(row);
    if (of_validity_) return valid != inverted_ ? 1 : 0;
    return valid && array.bit(row) != inverted_ ? 1 : 0;
  }

  const arrow::Column& column_;
  bool of_validity_;
  bool inverted_;
};

template <typename Order>
std::unique_ptr<KeyCoder> plain(const SortKey& key, int threads) {
  return std::make_unique<FixedCoder<Order, false>>(key, Lane{}, threads);
}

std::unique_ptr<KeyCoder> make_float_coder(const SortKey& key, int threads) {
  switch (key.column->type().width) {
    case 2: return plain<FloatOrder<std::uint16_t, 0x7C00>>(key, threads);
    case 4: return plain<FloatOrder<std::uint32_t, 0x7F800000>>(key, threads);
    default: return plain<FloatOrder<std::uint64_t, 0x7FF0000000000000>>(key, threads);
  }
}

template <bool kSigned>
std::unique_ptr<KeyCoder> make_integer_coder(const SortKey& key, int threads) {
  const auto make = [&]<typename S>(S) {
    using T = std::conditional_t<kSigned, S, std::make_unsigned_t<S>>;
    return plain<IntegerOrder<T>>(key, threads);
  };
  switch (key.column->type().width) {
    case 1: return make(std::int8_t{});
    case 2: return make(std::int16_t{});
    case 4: return make(std::int32_t{});
    default: return make(std::int64_t{});
  }
}

// A wide decimal is a row of 64-bit words, the lowest first in memory: a signed one on top, then
// unsigned ones. Each is compressed by its own range, so small numbers cost one word only.
void append_decimal_coders(const SortKey& key, int threads, KeyCoders& coders) {
  const std::int64_t words = key.column->type().width / 8;
  coders.push_back(std::make_unique<FixedCoder<IntegerOrder<std::int64_t>, true>>(
      key, Lane{words, words - 1}, threads));
  for (std::int64_t word = words - 2; word >= 0; --word) {
    coders.push_back(std::make_unique<FixedCoder<IntegerOrder<std::uint64_t>, true>>(
        key, Lane{words, word}, threads));
  }
}

}  // namespace

std::unique_ptr<KeyCoder> make_null_coder(const SortKey& key) {
  return std::make_unique<BitCoder>(*key.column, true, !key.nulls_first);
}

void append_fixed_coders(const SortKey& key, int threads, KeyCoders& coders) {
  const arrow::Type& type = key.column->type();
  if (type.layout == arrow::Layout::Bits) {
    coders.push_back(std::make_unique<BitCoder>(*key.column, false, !key.ascending));
  } else if (type.kind == arrow::Kind::Float) {
    coders.push_back(make_float_coder(key, threads));
  } else if (!type.is_integral()) {
    append_decimal_coders(key, threads, coders);
  } else if (type.kind == arrow::Kind::UInt) {
    coders.push_back(make_integer_coder<false>(key, threads));
  } else {
    coders.push_back(make_integer_coder<true>(key, threads));
  }
}

}  // namespace elevon::kernel

#include "net/fold.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace elevon::net {
namespace {

// A piece of every row at a time, so that the result stays in the first cache.
constexpr std::size_t kPieceBytes = 8 * 1024;

// Signed overflow is undefined, so integers wrap as unsigned ones.
template <typename T>
using Wrapping = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                             std::type_identity<T>>::type;

struct Sum {
  template <typename T>
  T operator()(T left, T right) const {
    return static_cast<T>(static_cast<Wrapping<T>>(left) + static_cast<Wrapping<T>>(right));
  }
};

struct Prod {
  template <typename T>
  T operator()(T left, T right) const {
    return static_cast<T>(static_cast<Wrapping<T>>(left) * static_cast<Wrapping<T>>(right));
  }
};

template <typename T>
bool is_below(T left, T right) {
  if constexpr (std::is_floating_point_v<T>) {
    return left < right || (left == right && std::signbit(left) && !std::signbit(right));
  } else {
    return left < right;
  }
}

template <typename T>
bool is_nan(T value) {
  if constexpr (std::is_floating_point_v<T>) return std::isnan(value);
  return false;
}

struct Min {
  template <typename T>
  T operator()(T left, T right) const {
    return is_nan(left) || is_below(left, right) ? left : right;
  }
};

struct Max {
  template <typename T>
  T operator()(T left, T right) const {
    return is_nan(left) || (!is_nan(right) && !is_below(left, right)) ? left : right;
  }
};

struct And {
  std::uint8_t operator()(std::uint8_t left, std::uint8_t right) const {
    return left != 0 && right != 0 ? 1 : 0;
  }
};

struct Or {
  std::uint8_t operator()(std::uint8_t left, std::uint8_t right) const {
    return left != 0 || right != 0 ? 1 : 0;
  }
};

// Element by element through memcpy: what a caller passes need not be aligned.
template <typename T, typename Operation>
void apply(std::byte* result, const std::byte* left, const std::byte* right, std::size_t bytes) {
  for (std::size_t at = 0; at + sizeof(T) <= bytes; at += sizeof(T)) {
    T one;
    T other;
    std::memcpy(&one, left + at, sizeof(T));
    std::memcpy(&other, right + at, sizeof(T));
    one = Operation{}(one, other);
    std::memcpy(result + at, &one, sizeof(T));
  }
}

using Loop = void (*)(std::byte*, const std::byte*, const std::byte*, std::size_t);

template <typename T>
Loop loop_over(Op op) {
  switch (op) {
    case Op::kSum: return apply<T, Sum>;
    case Op::kProd: return apply<T, Prod>;
    case Op::kMin: return apply<T, Min>;
    default: return apply<T, Max>;
  }
}

Loop loop_of(Reduction reduction) {
  if (!reduction.sound())
    throw std::invalid_argument("logical operations reduce bool, and only they do");
  switch (reduction.type) {
    case Type::kInt32: return loop_over<std::int32_t>(reduction.op);
    case Type::kInt64: return loop_over<std::int64_t>(reduction.op);
    case Type::kFloat32: return loop_over<float>(reduction.op);
    case Type::kFloat64: return loop_over<double>(reduction.op);
    default: return reduction.op == Op::kAnd ? apply<std::uint8_t, And> : apply<std::uint8_t, Or>;
  }
}

}  // namespace

const char* name_of(Op op) {
  static constexpr std::array<const char*, kOps> kNames = {"sum", "prod", "min",
                                                           "max", "land", "lor"};
  return kNames[static_cast<std::size_t>(op)];
}

const char* name_of(Type type) {
  static constexpr std::array<const char*, kTypes> kNames = {"int32", "int64", "float32", "float64",
                                                             "bool"};
  return kNames[static_cast<std::size_t>(type)];
}

std::size_t width_of(Type type) {
  static constexpr std::array<std::size_t, kTypes> kWidths = {4, 8, 4, 8, 1};
  return kWidths[static_cast<std::size_t>(type)];
}

void combine(Reduction reduction, Room result, Bytes left, Bytes right) {
  loop_of(reduction)(result.data(), left.data(), right.data(), result.size());
}

void fold(Reduction reduction, Room result, std::span<const Bytes> rows) {
  const Loop loop = loop_of(reduction);
  for (std::size_t at = 0; at < result.size(); at += kPieceBytes) {
    const std::size_t size = std::min(kPieceBytes, result.size() - at);
    std::byte* piece = result.data() + at;
    const std::byte* so_far = rows.front().data() + at;
    if (rows.size() == 1 && so_far != piece) std::memcpy(piece, so_far, size);
    for (const Bytes row : rows.subspan(1)) {
      loop(piece, so_far, row.data() + at, size);
      so_far = piece;
    }
  }
}

}  // namespace elevon::net

// Reductions of plain numbers in memory.
//
// From the left, in the order of the rows, whatever the algorithm that brought them: a sum of
// floats then has the same bits on every rank, every time, and as numpy makes it. Integers wrap
// around. Of minima and maxima NaN goes through, and -0.0 lies below 0.0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace elevon::net {

using Bytes = std::span<const std::byte>;
using Room = std::span<std::byte>;

enum class Op : std::uint8_t { kSum, kProd, kMin, kMax, kAnd, kOr };
enum class Type : std::uint8_t { kInt32, kInt64, kFloat32, kFloat64, kBool };
inline constexpr std::uint32_t kOps = 6;
inline constexpr std::uint32_t kTypes = 5;

struct Reduction {
  Op op = Op::kSum;
  Type type = Type::kInt64;
  // Logical operations are of kBool, and nothing else is.
  [[nodiscard]] bool sound() const { return (op >= Op::kAnd) == (type == Type::kBool); }
  // Never 0; what messages carry, so that members that reduce differently are told.
  [[nodiscard]] std::uint16_t code() const {
    return static_cast<std::uint16_t>(1 + static_cast<std::uint32_t>(type) * kOps +
                                      static_cast<std::uint32_t>(op));
  }
};

// "sum", "int32" ...
[[nodiscard]] const char* name_of(Op op);
[[nodiscard]] const char* name_of(Type type);
[[nodiscard]] std::size_t width_of(Type type);

// result = left op right, element by element; result may be one of them.
void combine(Reduction reduction, Room result, Bytes left, Bytes right);
// result = row 0 op row 1 op ...; it may be row 0.
void fold(Reduction reduction, Room result, std::span<const Bytes> rows);

}  // namespace elevon::net

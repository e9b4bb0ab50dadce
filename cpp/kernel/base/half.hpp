// Half-precision numbers as doubles: C++20 has no such type.
#pragma once

#include <bit>
#include <cstdint>

namespace elevon::kernel {

// The bits of an IEEE 754 binary16 number.
struct Half {
  std::uint16_t bits;
};

[[nodiscard]] inline double to_double(Half half) {
  const std::uint64_t bits = half.bits;
  const std::uint64_t sign = bits >> 15 << 63;
  const std::uint64_t exponent = (bits >> 10) & 0x1F;
  const std::uint64_t fraction = bits & 0x3FF;
  if (exponent == 0) {  // zero and subnormal numbers: fraction times 2^-24
    const double magnitude = static_cast<double>(fraction) * 0x1p-24;
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint64_t wide = exponent == 0x1F ? 0x7FF : exponent - 15 + 1023;
  return std::bit_cast<double>(sign | wide << 52 | fraction << 42);
}

[[nodiscard]] inline double to_double(float value) {
  return static_cast<double>(value);
}
[[nodiscard]] inline double to_double(double value) {
  return value;
}

}  // namespace elevon::kernel

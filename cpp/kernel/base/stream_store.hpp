// Stores past the caches, for results that are larger than they: without them every line of the
// target is read before it is overwritten.
#pragma once

#include <bit>
#include <cstdint>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace elevon::kernel {

// out[i] = values[rows[i]]. Whole lines are streamed; call stream_fence before another thread
// reads them.
inline void stream_run(const std::uint64_t* values, const std::uint16_t* rows, std::int64_t count,
                       std::uint64_t* out) {
  std::int64_t row = 0;
#if defined(__x86_64__)
  for (; row < count && (std::bit_cast<std::uintptr_t>(out + row) & 63) != 0; ++row) {
    out[row] = values[rows[row]];
  }
  for (; row + 8 <= count; row += 8) {
    for (std::int64_t word = row; word < row + 8; ++word) {
      _mm_stream_si64(reinterpret_cast<long long*>(out + word),
                      static_cast<long long>(values[rows[word]]));
    }
  }
#endif
  for (; row < count; ++row) out[row] = values[rows[row]];
}

// Makes streamed stores visible in order: once per worker, before it ends.
inline void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace elevon::kernel

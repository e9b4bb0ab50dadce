// Stores that go past the caches, for results that nobody reads before they would be evicted: the
// memory is not read first, which saves a third of the traffic.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace elevon::kernel {

#if defined(__SSE2__)

inline constexpr bool kCanStream = true;

// 64 bytes; `to` is aligned to 64.
inline void stream_line(void* to, const void* from) {
  auto* target = static_cast<__m128i*>(to);
  const auto* source = static_cast<const __m128i*>(from);
  for (int i = 0; i < 4; ++i) _mm_stream_si128(target + i, _mm_load_si128(source + i));
}

// Two words; `to` is aligned to 16.
inline void stream_pair(std::uint64_t* to, std::uint64_t first, std::uint64_t second) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(to),
                   _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first)));
}

// `size` bytes to anywhere: whole lines past the caches, the edges as usual.
inline void stream_bytes(std::byte* to, const std::byte* from, std::int64_t size) {
  const auto misplaced = reinterpret_cast<std::uintptr_t>(to) % 64;
  std::int64_t at = std::min<std::int64_t>(size, misplaced == 0 ? 0 : 64 - misplaced);
  std::memcpy(to, from, static_cast<std::size_t>(at));
  for (; at + 64 <= size; at += 64) {
    for (std::int64_t part = at; part < at + 64; part += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + part),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + part)));
    }
  }
  std::memcpy(to + at, from + at, static_cast<std::size_t>(size - at));
}

// Streamed stores reach memory in any order: to be called before another thread may read them.
inline void finish_streams() {
  _mm_sfence();
}

#else

inline constexpr bool kCanStream = false;

inline void stream_line(void* to, const void* from) {
  std::memcpy(to, from, 64);
}
inline void stream_pair(std::uint64_t* to, std::uint64_t first, std::uint64_t second) {
  to[0] = first;
  to[1] = second;
}
inline void stream_bytes(std::byte* to, const std::byte* from, std::int64_t size) {
  std::memcpy(to, from, static_cast<std::size_t>(size));
}
inline void finish_streams() {}

#endif

}  // namespace elevon::kernel

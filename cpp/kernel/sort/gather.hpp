// Values of a bucket in sorted order: random reads within the cache, sequential writes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernel/sort/config.hpp"
#include "kernel/sort/stream.hpp"

namespace elevon::kernel {

// out[i] = from[index[i]]. Meanwhile `next` (where this thread's next bucket lies) is fetched
// line by line: reads in random order would wait for memory. `stream` writes past the caches.
template <typename T, typename Index>
void gather_local(const T* from, const Index* index, std::int64_t count, T* out, const T* next,
                  bool stream) {
  constexpr auto kStep =
      std::max<std::int64_t>(config::kCacheLine / static_cast<std::int64_t>(sizeof(T)), 1);
  std::int64_t i = 0;
  if constexpr (sizeof(T) == 8 && kCanStream) {
    if (stream && count > 0) {
      if (reinterpret_cast<std::uintptr_t>(out) % 16 != 0) {
        out[0] = from[index[0]];
        i = 1;
      }
      for (; i + kStep <= count; i += kStep) {
        __builtin_prefetch(next + i);
        for (std::int64_t k = i; k < i + kStep; k += 2) {
          stream_pair(reinterpret_cast<std::uint64_t*>(out + k), from[index[k]],
                      from[index[k + 1]]);
        }
      }
    }
  }
  for (; i + kStep <= count; i += kStep) {
    __builtin_prefetch(next + i);
    for (std::int64_t k = i; k < i + kStep; ++k) out[k] = from[index[k]];
  }
  for (; i < count; ++i) out[i] = from[index[i]];
}

}  // namespace elevon::kernel

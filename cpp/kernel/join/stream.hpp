// Writes the rows of a result, segment by segment, on all threads.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernel/base/parallel.hpp"
#include "kernel/base/stream_store.hpp"
#include "kernel/join/config.hpp"
#include "kernel/join/match.hpp"

namespace elevon::kernel {

#if defined(__x86_64__)
// Around the cache: the processor joins the stores of one line.
template <typename T>
void stream_store(T* target, const T& value) {
  if constexpr (sizeof(T) == 8) {
    long long bits;
    std::memcpy(&bits, &value, sizeof bits);
    _mm_stream_si64(reinterpret_cast<long long*>(target), bits);
  } else if constexpr (sizeof(T) == 4) {
    int bits;
    std::memcpy(&bits, &value, sizeof bits);
    _mm_stream_si32(reinterpret_cast<int*>(target), bits);
  } else {
    *target = value;
  }
}
#else
template <typename T>
void stream_store(T* target, const T& value) {
  *target = value;
}
#endif

// Memory that will be read in no order soon: brought to the cache line by line while other work
// goes on, which hides its latency better than fetching all of it at once.
class Prefetcher {
 public:
  Prefetcher() = default;
  template <typename T>
  Prefetcher(const T* values, Range positions)
      : next_(reinterpret_cast<const std::byte*>(values + positions.begin)),
        end_(reinterpret_cast<const std::byte*>(values + positions.end)) {}

  void step() {
    if (next_ >= end_) return;
    __builtin_prefetch(next_, 0, 2);
    next_ += config::kCacheLine;
  }

 private:
  const std::byte* next_ = nullptr;
  const std::byte* end_ = nullptr;
};

namespace stream_detail {

inline constexpr std::int64_t kBatch = 8;

// Reads a batch before it writes it: stores between reads would keep them in order.
template <typename T, typename Value>
void write_segment(const Value& value, std::int64_t size, bool stream, Prefetcher ahead, T* out) {
  std::int64_t j = 0;
  for (; j + kBatch <= size; j += kBatch) {
    ahead.step();
    std::array<T, kBatch> batch;
    for (std::int64_t k = 0; k < kBatch; ++k) batch[static_cast<std::size_t>(k)] = value(j + k);
    if (stream) {
      for (std::int64_t k = 0; k < kBatch; ++k) {
        stream_store(out + j + k, batch[static_cast<std::size_t>(k)]);
      }
    } else {
      std::memcpy(out + j, batch.data(), sizeof batch);
    }
  }
  for (; j < size; ++j) out[j] = value(j);
}

}  // namespace stream_detail

// out[row] = value(j) for each pair j of each segment, with value = make(segment);
// ahead(segment) is what to prefetch for the segment that comes next.
template <typename T, typename Index, typename Make, typename Ahead>
void write_rows(const Matches<Index>& matches, int threads, T* out, Make&& make, Ahead&& ahead) {
  const auto& segments = matches.segments;
  const bool stream =
      matches.rows * static_cast<std::int64_t>(sizeof(T)) >= join_config::kStreamBytes;
  std::atomic<std::size_t> next{0};
  parallel(useful_threads(matches.rows, threads), [&](int) {
    for (std::size_t i = next++; i < segments.size();) {
      const std::size_t following = next++;
      const Segment<Index>& segment = segments[i];
      const bool last = following >= segments.size();
      const Prefetcher prefetcher = last ? Prefetcher{} : ahead(segments[following]);
      stream_detail::write_segment(make(segment), segment.size, stream, prefetcher,
                                   out + segment.begin);
      i = following;
    }
    if (stream) stream_fence();
  });
}

template <typename T, typename Index, typename Make>
void write_rows(const Matches<Index>& matches, int threads, T* out, Make&& make) {
  write_rows(matches, threads, out, make, [](const Segment<Index>&) { return Prefetcher{}; });
}

}  // namespace elevon::kernel

// Runs one function on T threads: the only place where the kernels make threads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernel/base/config.hpp"

namespace elevon::kernel {

// Rows [begin, end).
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  [[nodiscard]] std::int64_t size() const { return end - begin; }
};

// Part `part` of [0, rows) cut in `parts`; cuts fall on multiples of `align`, so that threads
// never share a byte of a bitmap or a cache line of an output (64 does for both).
[[nodiscard]] inline Range part_of(std::int64_t rows, int parts, int part,
                                   std::int64_t align = 64) {
  const std::int64_t units = (rows + align - 1) / align;
  const auto cut = [&](std::int64_t index) {
    return std::min(rows, units / parts * index * align + std::min(units % parts, index) * align);
  };
  return {cut(part), cut(part + 1)};
}

// As many of `threads` as `rows` rows are worth, at least one.
[[nodiscard]] inline int useful_threads(std::int64_t rows, int threads) {
  const std::int64_t worth = rows / config::kRowsPerThread;
  return static_cast<int>(std::clamp<std::int64_t>(worth, 1, std::max(threads, 1)));
}

// Calls f(0) ... f(threads - 1) at once, one of them on the caller's thread, and returns when all
// have ended. The first exception is thrown again here, after all have ended.
template <typename F>
void parallel(int threads, F&& f) {
  if (threads <= 1) return static_cast<void>(f(0));
  std::exception_ptr failure;
  std::mutex mutex;
  const auto guarded = [&](int index) {
    try {
      f(index);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    others.reserve(static_cast<std::size_t>(threads - 1));
    for (int index = 1; index < threads; ++index) others.emplace_back(guarded, index);
    guarded(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace elevon::kernel

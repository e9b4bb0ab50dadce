// Small memory of the Arrow layer itself (re-aligned buffers, unified dictionaries).
// Kernels have their own pooled buffers; this layer stands below them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "arrow/view.hpp"

namespace elevon::arrow {

// What an absent buffer points to: zeros enough for the values of no row (one offset, one view).
alignas(64) inline constexpr std::byte kNothing[64]{};

struct Writable {
  std::byte* data;
  Memory memory;
};

// `size` bytes aligned to 64, content unspecified. Throws std::bad_alloc.
[[nodiscard]] inline Writable allocate(std::int64_t size) {
  struct Line {
    alignas(64) std::byte bytes[64];
  };
  const auto lines =
      std::make_shared_for_overwrite<Line[]>(static_cast<std::size_t>((size + 63) / 64 + 1));
  std::byte* data = lines[0].bytes;
  return {data, Memory{data, size, Owner(lines, data)}};
}

}  // namespace elevon::arrow

// Finds bounds in vector registers as wide as the machine has.

#include "kernel/join/bounds.hpp"

#include <algorithm>
#include <limits>

namespace elevon::kernel {

namespace {

// SSE2 has no 64-bit comparison, so the portable loop runs at half the speed of memory. The
// resolver that picks a clone needs glibc.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__)
#define ELEVON_WIDE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define ELEVON_WIDE_CLONES
#endif

struct SignedBounds {
  std::int64_t min = std::numeric_limits<std::int64_t>::max();
  std::int64_t max = std::numeric_limits<std::int64_t>::min();
};

// Unsigned words compare as signed ones with the highest bit flipped.
ELEVON_WIDE_CLONES SignedBounds find_bounds(const std::uint64_t* words, std::int64_t count,
                                            std::uint64_t flip) {
  SignedBounds bounds;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<std::int64_t>(words[i] ^ flip);
    bounds.min = value < bounds.min ? value : bounds.min;
    bounds.max = value > bounds.max ? value : bounds.max;
  }
  return bounds;
}

}  // namespace

void extend_bounds(const std::uint64_t* words, std::int64_t count, bool is_signed,
                   WordBounds& bounds) {
  if (count == 0) return;
  const std::uint64_t flip = is_signed ? 0 : std::uint64_t{1} << 63;
  SignedBounds found = find_bounds(words, count, flip);
  if (bounds.any) {
    found.min = std::min(found.min, static_cast<std::int64_t>(bounds.min ^ flip));
    found.max = std::max(found.max, static_cast<std::int64_t>(bounds.max ^ flip));
  }
  bounds = {static_cast<std::uint64_t>(found.min) ^ flip,
            static_cast<std::uint64_t>(found.max) ^ flip, true};
}

std::int64_t drop_marked(const std::uint64_t* words, const std::uint8_t* marks, std::int64_t count,
                         std::uint64_t* out) {
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    out[kept] = words[i];
    kept += marks[i] == 0 ? 1 : 0;
  }
  return kept;
}

}  // namespace elevon::kernel

// Smallest and largest of many words, at the speed of memory.
#pragma once

#include <cstdint>

#include "kernel/join/words.hpp"

namespace elevon::kernel {

// Extends `bounds` by `count` words, ordered as signed or unsigned integers.
void extend_bounds(const std::uint64_t* words, std::int64_t count, bool is_signed,
                   WordBounds& bounds);

// Copies the words that are not marked; returns how many. `out` may be `words` itself.
std::int64_t drop_marked(const std::uint64_t* words, const std::uint8_t* marks, std::int64_t count,
                         std::uint64_t* out);

}  // namespace elevon::kernel

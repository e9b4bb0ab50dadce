// Copies that are mostly short.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace elevon::kernel {

// Bytes that one load and one store move. A value of at most so many bytes may be copied as if it
// had all of them where both sides have the room: its length then decides no branch.
inline constexpr std::int64_t kWideCopy = 16;

// Most strings are short: a call of memcpy costs more than their bytes.
inline void small_copy(std::byte* target, const char* source, std::int64_t size) {
  const auto count = static_cast<std::size_t>(size);
  if (count > 16) {
    std::memcpy(target, source, count);
  } else if (count >= 8) {
    std::memcpy(target, source, 8);
    std::memcpy(target + count - 8, source + count - 8, 8);
  } else if (count >= 4) {
    std::memcpy(target, source, 4);
    std::memcpy(target + count - 4, source + count - 4, 4);
  } else {
    for (std::size_t at = 0; at < count; ++at) target[at] = static_cast<std::byte>(source[at]);
  }
}

}  // namespace elevon::kernel

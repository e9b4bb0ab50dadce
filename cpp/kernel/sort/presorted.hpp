// Whether the rows are in order already, or in reverse: found out before anything is moved.
#pragma once

#include <cstdint>

#include "kernel/keys/normalize.hpp"

namespace elevon::kernel {

enum class Presorted : std::uint8_t {
  No,
  Ascending,   // no row sorts after its successor
  Descending,  // every row sorts after its successor; equal rows would change places in reverse
};

// Gives up at the first rows that are neither, so tables in no order cost next to nothing.
[[nodiscard]] Presorted find_presorted(const KeyOrder& order, int threads);

}  // namespace elevon::kernel

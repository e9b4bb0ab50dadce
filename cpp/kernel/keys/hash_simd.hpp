// The loop of a row's hash over several key columns, with wider vectors where the processor has
// them.
#pragma once

#include <cstdint>

namespace elevon::kernel {

// hashes[i] = combine(hashes[i], words[i]).
void combine_words(const std::uint64_t* words, std::int64_t count, std::uint64_t* hashes);

}  // namespace elevon::kernel

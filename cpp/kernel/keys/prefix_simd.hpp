// The loops of prefix codes over plain strings, for processors with AVX-512: a load that leaves out
// what is not a value's own needs no branch on its length, and a code is a few multiplications of
// all its places at once.
#pragma once

#include <cstdint>

#include "kernel/keys/prefix_code.hpp"

namespace elevon::kernel {

// Strings without nulls: string i is bytes[offsets[i] .. offsets[i + 1]).
template <typename Offset>
struct StringRun {
  const char* bytes;
  const Offset* offsets;
  std::int64_t count;
};

// Adds what the strings hold after byte `from`, which none is shorter than. False, and nothing
// done, where the processor cannot.
template <typename Offset>
[[nodiscard]] bool measure_run(const StringRun<Offset>& run, std::int64_t from, ByteRanges& ranges);

// The strings' codes. False, and nothing done, where the processor or the code's bases do not allow
// it.
template <typename Offset>
[[nodiscard]] bool encode_run(const StringRun<Offset>& run, const PrefixCode& prefix,
                              std::uint64_t* out);

}  // namespace elevon::kernel

#include "kernel/keys/hash_simd.hpp"

#include "kernel/base/simd.hpp"
#include "kernel/keys/hash.hpp"

namespace elevon::kernel {
namespace {

// Inlined into both forms below, so that the compiler vectorises it for each.
[[gnu::always_inline]] inline void combine_loop(const std::uint64_t* words, std::int64_t count,
                                                std::uint64_t* hashes) {
  for (std::int64_t at = 0; at < count; ++at) hashes[at] = combine(hashes[at], words[at]);
}

#if defined(__x86_64__)

ELEVON_AVX512 void combine_avx512(const std::uint64_t* words, std::int64_t count,
                                  std::uint64_t* hashes) {
  combine_loop(words, count, hashes);
}

#endif

}  // namespace

void combine_words(const std::uint64_t* words, std::int64_t count, std::uint64_t* hashes) {
#if defined(__x86_64__)
  if (has_avx512()) return combine_avx512(words, count, hashes);
#endif
  combine_loop(words, count, hashes);
}

}  // namespace elevon::kernel

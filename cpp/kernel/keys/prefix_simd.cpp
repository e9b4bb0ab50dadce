#include "kernel/keys/prefix_simd.hpp"

#include <algorithm>

#include "kernel/base/simd.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace elevon::kernel {
namespace {

#if defined(__x86_64__)

// The lowest bits: as many as there are bytes, 32 at most.
ELEVON_AVX512 inline std::uint32_t byte_mask(std::int64_t bytes) {
  return _bzhi_u32(~0U, static_cast<unsigned>(std::min<std::int64_t>(bytes, 32)));
}

template <typename Offset>
ELEVON_AVX512 void measure_avx512(const StringRun<Offset>& run, std::int64_t from,
                                  ByteRanges& ranges) {
  __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ranges.low.data()));
  __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ranges.high.data()));
  std::int64_t shortest = ranges.shortest;
  std::int64_t longest = ranges.longest;
  for (std::int64_t i = 0; i < run.count; ++i) {
    const std::int64_t begin = run.offsets[i] + from;
    const std::int64_t size = run.offsets[i + 1] - begin;
    const __mmask32 present = byte_mask(size);
    const __m256i bytes = _mm256_maskz_loadu_epi8(present, run.bytes + begin);
    low = _mm256_mask_min_epu8(low, present, low, bytes);
    high = _mm256_max_epu8(high, bytes);
    shortest = std::min(shortest, size);
    longest = std::max(longest, size);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(ranges.low.data()), low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(ranges.high.data()), high);
  ranges.shortest = shortest;
  ranges.longest = longest;
}

// Two groups side by side: what is given for each, in each one's half.
ELEVON_AVX512 inline __m128i halves(std::uint64_t first, std::uint64_t second) {
  return _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
}

// A base and 1, by turns, in lanes of 8 or 16 bits of a word.
constexpr std::uint64_t by_turns(std::uint64_t base, int lane_bits) {
  const std::uint64_t pair = base | std::uint64_t{1} << lane_bits;
  return lane_bits == 8 ? pair * 0x0001000100010001ULL : pair * 0x0000000100000001ULL;
}

// Neighbouring digits are joined to numbers of twice the width, as Packer does.
template <typename Offset>
ELEVON_AVX512 void encode_avx512(const StringRun<Offset>& run, const PrefixCode& prefix,
                                 std::uint64_t* out) {
  const Packer first = prefix.first();
  const Packer second = prefix.second();
  const std::uint64_t bases[] = {first.radix(), second.radix()};
  const std::uint64_t squares[] = {bases[0] * bases[0], bases[1] * bases[1]};
  const __m128i offsets = halves(first.offsets(), second.offsets());
  const __m128i unused = halves(0, 8U * static_cast<unsigned>(Packer::kGroup - second.places()));
  const __m128i to_pairs = halves(by_turns(bases[0], 8), by_turns(bases[1], 8));
  const __m128i to_quads = halves(by_turns(squares[0], 16), by_turns(squares[1], 16));
  const __m128i to_words = halves(squares[0] * squares[0], squares[1] * squares[1]);
  const std::uint64_t scale = prefix.scale();
  const std::int64_t skip = prefix.skip();
  for (std::int64_t i = 0; i < run.count; ++i) {
    const std::int64_t begin = run.offsets[i] + skip;
    const auto present = static_cast<__mmask16>(byte_mask(run.offsets[i + 1] - begin));
    const __m128i bytes = _mm_maskz_loadu_epi8(present, run.bytes + begin);
    const __m128i digits = _mm_sllv_epi64(_mm_maskz_sub_epi8(present, bytes, offsets), unused);
    const __m128i quads = _mm_madd_epi16(_mm_maddubs_epi16(digits, to_pairs), to_quads);
    const __m128i words = _mm_add_epi64(_mm_mul_epu32(quads, to_words), _mm_srli_epi64(quads, 32));
    const auto high = static_cast<std::uint64_t>(_mm_cvtsi128_si64(words));
    out[i] = high * scale + static_cast<std::uint64_t>(_mm_extract_epi64(words, 1));
  }
}

// The instructions that join bytes and pairs take signed factors.
bool has_small_bases(const PrefixCode& prefix) {
  constexpr std::uint64_t kMost = 127;
  return prefix.first().radix() <= kMost && prefix.second().radix() <= kMost;
}

#endif

}  // namespace

template <typename Offset>
bool measure_run([[maybe_unused]] const StringRun<Offset>& run, [[maybe_unused]] std::int64_t from,
                 [[maybe_unused]] ByteRanges& ranges) {
#if defined(__x86_64__)
  if (has_avx512()) {
    measure_avx512(run, from, ranges);
    return true;
  }
#endif
  return false;
}

template <typename Offset>
bool encode_run([[maybe_unused]] const StringRun<Offset>& run,
                [[maybe_unused]] const PrefixCode& prefix, [[maybe_unused]] std::uint64_t* out) {
#if defined(__x86_64__)
  if (has_avx512() && has_small_bases(prefix)) {
    encode_avx512(run, prefix, out);
    return true;
  }
#endif
  return false;
}

#define ELEVON_RUNS(OFFSET)                                                       \
  template bool measure_run(const StringRun<OFFSET>&, std::int64_t, ByteRanges&); \
  template bool encode_run(const StringRun<OFFSET>&, const PrefixCode&, std::uint64_t*)

ELEVON_RUNS(std::int32_t);
ELEVON_RUNS(std::int64_t);

}  // namespace elevon::kernel

// What the processor can do, asked when the program runs: one binary serves every x86-64 and
// aarch64 machine. Loops that are worth wider vectors than the baseline lie beside their owners
// (hash_simd and prefix_simd in keys, partition_simd in exchange), each with a portable form.
#pragma once

#if defined(__x86_64__)

// A function that only has_avx512() may lead to. Every processor with these vectors has the two
// small sets as well.
#define ELEVON_AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")))

namespace elevon::kernel {

[[nodiscard]] inline bool has_avx512() {
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("bmi2") &&
                          __builtin_cpu_supports("popcnt");
  return has;
}

}  // namespace elevon::kernel

#endif

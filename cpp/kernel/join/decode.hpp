// A key column out of the codes that were partitioned: they are in cache, the column itself would
// have to be carried again.
#pragma once

#include <cstdint>

#include "arrow/view.hpp"
#include "kernel/join/match.hpp"
#include "kernel/join/partition.hpp"
#include "kernel/join/stream.hpp"

namespace elevon::kernel {

// Codes are values (JoinKeys::is_value) of 4 or 8 bytes, both sides are scattered, and no row of
// the result comes from outside of all partitions, where codes are not whole.
template <typename Index>
[[nodiscard]] bool can_decode(const arrow::Type& type, bool is_value,
                              const Placement<Index>& placement, const Matches<Index>& matches) {
  const bool outside =
      !matches.segments.empty() && matches.segments.back().partition >= placement.partitions();
  return is_value && placement.scattered() && !outside && type.is_integral() && type.width >= 4;
}

template <typename T, typename Scheme, typename Index>
[[nodiscard]] arrow::ArrayPtr decode_as(const arrow::TypePtr& type, const Scheme& scheme,
                                        const Side<Scheme, Index>& probe,
                                        const Side<Scheme, Index>& build,
                                        const Matches<Index>& matches, int threads) {
  OwnedArray<T> out(matches.rows);
  write_rows(matches, threads, out.data(), [&](const Segment<Index>& segment) {
    return [&scheme, segment, probes = probe.locals.data(),
            builds = build.locals.data()](std::int64_t j) {
      const Index position = segment.probe[j];
      const auto local =
          position == kNoPosition<Index> ? builds[segment.build[j]] : probes[position];
      return static_cast<T>(scheme.code(local, segment.partition));
    };
  });
  return make_array(type, matches.rows, 0, {}, {share(std::move(out))});
}

// The key of every result row, whichever side it is from.
template <typename Scheme, typename Index>
[[nodiscard]] arrow::ArrayPtr decode_keys(const arrow::TypePtr& type, const Scheme& scheme,
                                          const Side<Scheme, Index>& probe,
                                          const Side<Scheme, Index>& build,
                                          const Matches<Index>& matches, int threads) {
  if (type->width == 4) {
    return decode_as<std::uint32_t>(type, scheme, probe, build, matches, threads);
  }
  return decode_as<std::uint64_t>(type, scheme, probe, build, matches, threads);
}

}  // namespace elevon::kernel

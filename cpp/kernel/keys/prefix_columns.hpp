// Prefix codes of whole columns of utf8, binary and fixed-size binary.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "arrow/view.hpp"
#include "kernel/base/buffer.hpp"
#include "kernel/keys/prefix_code.hpp"

namespace elevon::kernel {

using BytesColumns = std::span<const arrow::Column* const>;

// How many bytes two values share, looking no further than `limit` and not before `from`.
[[nodiscard]] std::int64_t shared_prefix(std::string_view a, std::string_view b, std::int64_t from,
                                         std::int64_t limit);

// A code for the values of all columns.
[[nodiscard]] PrefixCode measure_prefix(BytesColumns columns, int threads);

// The same, if it tells all values apart. Where it does not, a look at a few values mostly says so.
[[nodiscard]] std::optional<PrefixCode> exact_prefix(BytesColumns columns, int threads);

struct PrefixCodes {
  OwnedArray<std::uint64_t> codes;  // 0 for a null row
  // Bounds over all rows that are not null; low > high if there are none.
  std::uint64_t low = ~std::uint64_t{0};
  std::uint64_t high = 0;
};

[[nodiscard]] PrefixCodes encode_prefix(const arrow::Column& column, const PrefixCode& prefix,
                                        int threads);

}  // namespace elevon::kernel

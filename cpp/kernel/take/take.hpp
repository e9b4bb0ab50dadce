// Rows of a column or a table by their numbers: the last step of join, sort and take.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "arrow/table.hpp"
#include "kernel/base/buffer.hpp"

namespace elevon::kernel {

// The number that stands for "no row": the result is null there.
inline constexpr std::uint32_t kNoRow32 = std::numeric_limits<std::uint32_t>::max();
inline constexpr std::int64_t kNoRow64 = -1;

// Row numbers of a column, 32 or 64 bits wide. `may_miss` false promises that none is kNoRow.
// Every number must be a row of the column: they are not checked again here.
class Rows {
 public:
  explicit Rows(std::span<const std::uint32_t> rows, bool may_miss = false)
      : narrow_(rows.data()), size_(static_cast<std::int64_t>(rows.size())), may_miss_(may_miss) {}
  explicit Rows(std::span<const std::int64_t> rows, bool may_miss = false)
      : wide_(rows.data()), size_(static_cast<std::int64_t>(rows.size())), may_miss_(may_miss) {}

  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] bool may_miss() const { return may_miss_; }
  [[nodiscard]] Rows part(std::int64_t begin, std::int64_t size) const;

  // Calls f(const uint32_t*) or f(const int64_t*).
  template <typename F>
  decltype(auto) visit(F&& f) const {
    return wide_ != nullptr ? f(wide_) : f(narrow_);
  }

 private:
  const std::uint32_t* narrow_ = nullptr;
  const std::int64_t* wide_ = nullptr;
  std::int64_t size_ = 0;
  bool may_miss_ = false;
};

// The column's values at `rows`, any Arrow type, on up to `threads` threads. The result has one
// chunk; more only where 32-bit offsets could not address one.
[[nodiscard]] arrow::Column gather(const arrow::Column& column, const Rows& rows, int threads);

// All columns of a table.
[[nodiscard]] arrow::Table gather(const arrow::Table& table, const Rows& rows, int threads);

// The same rows in one chunk; a column that is in one already (or in none) is returned as it is.
// Kernels call this for key columns, to index them freely. Strings that outgrow 32-bit offsets
// come out under 64-bit offsets; any other type then throws std::invalid_argument.
[[nodiscard]] arrow::Column combine_chunks(const arrow::Column& column, int threads);

// A dictionary column as the values it stands for (null where the entry is null); any other column
// as it is. May be in several chunks where the strings outgrow 32-bit offsets.
[[nodiscard]] arrow::Column decode_dictionary(const arrow::Column& column, int threads);

}  // namespace elevon::kernel

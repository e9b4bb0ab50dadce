// Sorts the rows of one bucket by their words, in cache: radix passes over items that hold the
// word's code and, below it, the row's index in the bucket. Stable, because equal codes keep the
// order of their indices.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernel/base/buffer.hpp"
#include "kernel/keys/normalize_key.hpp"
#include "kernel/sort/config.hpp"

namespace elevon::kernel {

// One per thread: keeps its scratch from bucket to bucket.
class LocalSorter {
 public:
  // Sorts a bucket of less than 2^32 rows. A row's word is `origin` + its code; codes are below
  // 2^bits. The codes must stay where they are until the last read().
  // Throws std::length_error for more rows, unless they are in order.
  void sort(std::span<const std::uint32_t> codes, Code origin, int bits);
  void sort(std::span<const std::uint64_t> codes, Code origin, int bits);

  // True if the rows were in order: the bucket's order is that of its indices.
  [[nodiscard]] bool in_order() const { return in_order_; }

  // Sorted rows [first, first + count): where in the bucket each was, and its word.
  void read(std::int64_t first, std::int64_t count, std::uint32_t* index, Code* words) const;

 private:
  using Counts = std::array<std::uint32_t, std::size_t{1} << sort_config::kMaxDigitBits>;
  struct Digits {
    int low;  // first bit that is sorted
    int passes;
    int width;  // bits of a pass
  };

  template <typename Stored>
  void sort_codes(std::span<const Stored> codes, Code origin, int bits);
  template <typename Item, typename Stored>
  void sort_items(std::span<const Stored> codes, Code low, int bits);
  template <typename Item>
  Item* sort_range(Item* items, Item* other, std::int64_t count, int bits);
  template <typename Item>
  Item* radix_sort(Item* items, Item* other, std::int64_t count, Digits digits);
  template <int kPasses, typename Item>
  void count_digits(const Item* items, std::int64_t count, Digits digits);
  template <typename Item>
  void settle_runs(Item* items, Item* other, std::int64_t count, int open_bits);
  template <typename Item>
  void settle_dropped(Item* items, std::int64_t count, std::span<const Code> codes);
  template <typename Item>
  void read_items(const Item* items, std::int64_t count, std::uint32_t* index, Code* words) const;
  void reserve(std::int64_t items);

  OwnedArray<std::uint64_t> scratch_;  // items and their copy
  std::array<Counts, 3> counts_;

  // The last bucket's result.
  bool in_order_ = true;
  bool narrow_ = true;  // items or, in order, codes are 32 bits wide
  const void* items_ = nullptr;
  const std::uint64_t* full_codes_ = nullptr;  // where items hold less than the code
  Code origin_ = 0;
  int index_bits_ = 0;
};

}  // namespace elevon::kernel

#include "kernel/sort/local.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace elevon::kernel {
namespace {

int bits_of(std::int64_t count) {
  return static_cast<int>(std::bit_width(static_cast<std::uint64_t>(count - 1)));
}

template <typename Item>
void insertion_sort(Item* items, std::int64_t count) {
  for (std::int64_t i = 1; i < count; ++i) {
    const Item item = items[i];
    std::int64_t at = i;
    for (; at > 0 && items[at - 1] > item; --at) items[at] = items[at - 1];
    items[at] = item;
  }
}

// Counts become the places where each digit's items begin.
template <typename Counts>
void make_places(Counts& counts, int width) {
  std::uint32_t next = 0;
  for (std::size_t digit = 0; digit < std::size_t{1} << width; ++digit) {
    next += std::exchange(counts[digit], next);
  }
}

}  // namespace

void LocalSorter::sort(std::span<const std::uint32_t> codes, Code origin, int bits) {
  sort_codes(codes, origin, bits);
}

void LocalSorter::sort(std::span<const std::uint64_t> codes, Code origin, int bits) {
  sort_codes(codes, origin, bits);
}

template <typename Stored>
void LocalSorter::sort_codes(std::span<const Stored> codes, Code origin, int bits) {
  origin_ = origin;
  full_codes_ = nullptr;
  in_order_ = std::is_sorted(codes.begin(), codes.end());
  if (in_order_) {
    narrow_ = std::is_same_v<Stored, std::uint32_t>;
    items_ = codes.data();
    return;
  }
  if (codes.size() > std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("sort: too many rows share the leading bits of their keys");
  }
  index_bits_ = bits_of(static_cast<std::int64_t>(codes.size()));
  Code low = 0;
  if (bits > index_bits_ + sort_config::kSpareBits) {
    Code high = low = codes[0];
    for (const Code code : codes) {
      low = std::min(low, code);
      high = std::max(high, code);
    }
    bits = static_cast<int>(std::bit_width(high - low));
  }
  narrow_ = bits + index_bits_ <= 32;
  if (narrow_) return sort_items<std::uint32_t>(codes, low, bits);
  sort_items<std::uint64_t>(codes, low, bits);
}

template <typename Item, typename Stored>
void LocalSorter::sort_items(std::span<const Stored> codes, Code low, int bits) {
  const auto count = static_cast<std::int64_t>(codes.size());
  const int dropped = std::max(bits + index_bits_ - static_cast<int>(sizeof(Item) * 8), 0);
  reserve(count);
  Item* items = reinterpret_cast<Item*>(scratch_.data());
  Item* other = reinterpret_cast<Item*>(scratch_.data() + count);
  const int index_bits = index_bits_;
  for (std::int64_t i = 0; i < count; ++i) {
    const Code code = (codes[static_cast<std::size_t>(i)] - low) >> dropped;
    items[i] = static_cast<Item>(code << index_bits | static_cast<Code>(i));
  }
  items = sort_range(items, other, count, bits - dropped);
  items_ = items;
  if constexpr (std::is_same_v<Stored, Code>) {
    if (dropped > 0) return settle_dropped(items, count, codes);
  }
  origin_ += low;
}

// Sorts by the highest of the lowest `bits` bits of the codes, as many as tell most rows apart,
// then what is left equal. Returns where the result is: items or other.
template <typename Item>
Item* LocalSorter::sort_range(Item* items, Item* other, std::int64_t count, int bits) {
  if (count <= sort_config::kInsertionRows) {
    insertion_sort(items, count);
    return items;
  }
  const int useful = bits_of(count) + sort_config::kSpareBits;
  const int sorted = bits <= useful + sort_config::kSpareBits ? bits : useful;
  const int width_limit = std::clamp(bits_of(count), 8, sort_config::kMaxDigitBits);
  const int passes = std::max((sorted + width_limit - 1) / width_limit, 1);
  const int width = (sorted + passes - 1) / passes;
  const int open = std::max(bits - passes * width, 0);
  Item* result = radix_sort(items, other, count, {index_bits_ + open, passes, width});
  if (open > 0) settle_runs(result, result == items ? other : items, count, open);
  return result;
}

template <typename Item>
Item* LocalSorter::radix_sort(Item* items, Item* other, std::int64_t count, Digits digits) {
  const std::size_t mask = (std::size_t{1} << digits.width) - 1;
  switch (digits.passes) {
    case 1: count_digits<1>(items, count, digits); break;
    case 2: count_digits<2>(items, count, digits); break;
    default: count_digits<3>(items, count, digits); break;
  }
  for (int pass = 0; pass < digits.passes; ++pass) {
    Counts& places = counts_[static_cast<std::size_t>(pass)];
    make_places(places, digits.width);
    const int shift = digits.low + pass * digits.width;
    for (std::int64_t i = 0; i < count; ++i) {
      const Item item = items[i];
      other[places[static_cast<std::size_t>(item >> shift) & mask]++] = item;
    }
    std::swap(items, other);
  }
  return items;
}

// The counts of all passes in one reading of the items.
template <int kPasses, typename Item>
void LocalSorter::count_digits(const Item* items, std::int64_t count, Digits digits) {
  const std::size_t mask = (std::size_t{1} << digits.width) - 1;
  for (std::size_t pass = 0; pass < kPasses; ++pass) {
    std::fill_n(counts_[pass].begin(), mask + 1, 0U);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    auto digit = static_cast<std::size_t>(items[i] >> digits.low);
    for (std::size_t pass = 0; pass < kPasses; ++pass, digit >>= digits.width) {
      ++counts_[pass][digit & mask];
    }
  }
}

// Sorts each run of items that agree above their lowest `open_bits` code bits.
template <typename Item>
void LocalSorter::settle_runs(Item* items, Item* other, std::int64_t count, int open_bits) {
  const int shift = index_bits_ + open_bits;
  for (std::int64_t begin = 0, end = 0; begin < count; begin = end) {
    const Item head = items[begin] >> shift;
    for (end = begin + 1; end < count && items[end] >> shift == head;) ++end;
    if (std::is_sorted(items + begin, items + end)) continue;
    const Item* sorted = sort_range(items + begin, other + begin, end - begin, open_bits);
    if (sorted != items + begin) std::copy_n(sorted, end - begin, items + begin);
  }
}

// Items too narrow for index and code hold the code's highest bits: where these agree, the codes
// themselves decide. Rare, for the items hold 64 bits.
template <typename Item>
void LocalSorter::settle_dropped(Item* items, std::int64_t count, std::span<const Code> codes) {
  full_codes_ = codes.data();
  const Item mask = static_cast<Item>((Item{1} << index_bits_) - 1);
  const auto before = [&](Item left, Item right) {
    const auto at_left = static_cast<std::size_t>(left & mask);
    const auto at_right = static_cast<std::size_t>(right & mask);
    if (codes[at_left] != codes[at_right]) return codes[at_left] < codes[at_right];
    return at_left < at_right;
  };
  for (std::int64_t begin = 0, end = 0; begin < count; begin = end) {
    const Item head = items[begin] >> index_bits_;
    for (end = begin + 1; end < count && items[end] >> index_bits_ == head;) ++end;
    if (end - begin > 1) std::sort(items + begin, items + end, before);
  }
}

void LocalSorter::read(std::int64_t first, std::int64_t count, std::uint32_t* index,
                       Code* words) const {
  if (narrow_) {
    read_items(static_cast<const std::uint32_t*>(items_) + first, count, index, words);
  } else {
    read_items(static_cast<const std::uint64_t*>(items_) + first, count, index, words);
  }
  if (in_order_) {
    std::iota(index, index + count, static_cast<std::uint32_t>(first));
  } else if (full_codes_ != nullptr) {
    for (std::int64_t i = 0; i < count; ++i) words[i] = origin_ + full_codes_[index[i]];
  }
}

// Codes that were in order are items without an index.
template <typename Item>
void LocalSorter::read_items(const Item* items, std::int64_t count, std::uint32_t* index,
                             Code* words) const {
  const int index_bits = in_order_ ? 0 : index_bits_;
  const Code mask = (Code{1} << index_bits) - 1;
  const Code origin = origin_;
  for (std::int64_t i = 0; i < count; ++i) index[i] = static_cast<std::uint32_t>(items[i] & mask);
  for (std::int64_t i = 0; i < count; ++i) words[i] = origin + (items[i] >> index_bits);
}

void LocalSorter::reserve(std::int64_t items) {
  if (scratch_.size() >= 2 * items) return;
  scratch_ = OwnedArray<std::uint64_t>();
  scratch_ = OwnedArray<std::uint64_t>(2 * items);
}

}  // namespace elevon::kernel

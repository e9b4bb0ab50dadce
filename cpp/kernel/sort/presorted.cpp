#include "kernel/sort/presorted.hpp"

#include <array>
#include <vector>

namespace elevon::kernel {
namespace {

constexpr std::int64_t kBlock = 1024;  // rows encoded at a time: their words stay in L1

struct Seen {
  bool ascending = true;
  bool descending = true;

  [[nodiscard]] bool any() const { return ascending || descending; }
  void add(const Seen& other) {
    ascending &= other.ascending;
    descending &= other.descending;
  }
};

// Rows whose words are equal, by the rest of their keys.
Seen compare_tied(const KeyOrder& order, std::int64_t row) {
  const int sign = order.exact() ? 0 : order.compare_open(row, row + 1);
  return {.ascending = sign <= 0, .descending = sign > 0};
}

// Rows [begin, end] pairwise, given their words.
Seen look_at(const KeyOrder& order, Range rows, const Code* words) {
  Seen seen;
  bool tied = false;
  for (std::int64_t i = 0; i < rows.size(); ++i) {
    seen.ascending &= words[i] <= words[i + 1];
    seen.descending &= words[i] >= words[i + 1];
    tied |= words[i] == words[i + 1];
  }
  if (tied && order.exact()) seen.descending = false;
  if (!tied || order.exact()) return seen;
  for (std::int64_t i = 0; i < rows.size() && seen.any(); ++i) {
    if (words[i] == words[i + 1]) seen.add(compare_tied(order, rows.begin + i));
  }
  return seen;
}

}  // namespace

Presorted find_presorted(const KeyOrder& order, int threads) {
  const std::int64_t pairs = order.rows() - 1;
  if (pairs < 1) return Presorted::Ascending;
  std::vector<Seen> parts(static_cast<std::size_t>(threads));
  parallel(threads, [&](int part) {
    std::array<Code, kBlock + 1> words;
    Seen& seen = parts[static_cast<std::size_t>(part)];
    const Range rows = part_of(pairs, threads, part);
    for (std::int64_t begin = rows.begin; begin < rows.end && seen.any(); begin += kBlock) {
      const Range block{begin, std::min(begin + kBlock, rows.end)};
      order.encode({block.begin, block.end + 1}, words.data());
      seen.add(look_at(order, block, words.data()));
    }
  });
  Seen all;
  for (const Seen& part : parts) all.add(part);
  if (all.ascending) return Presorted::Ascending;
  return all.descending ? Presorted::Descending : Presorted::No;
}

}  // namespace elevon::kernel

// The build side of one partition, sorted by slot: a counting sort in place of chains, so that the
// rows of one slot lie side by side.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernel/base/buffer.hpp"
#include "kernel/join/config.hpp"
#include "kernel/join/partition.hpp"

namespace elevon::kernel {

// Slots of a block of positions; `codes` only where the scheme is not exact.
template <typename Scheme>
struct SlotBlock {
  const Scheme::Slot* slots;
  const Scheme::Local* codes;
};

template <typename Scheme>
struct SlotScratch {
  CodeScratch code;
  alignas(64) std::array<typename Scheme::Slot, join_config::kBlockRows> slots;
  alignas(64) std::array<typename Scheme::Local, join_config::kBlockRows> locals;
};

// The slots at `positions` of a side: at most kBlockRows. Rows of an unscattered side that match
// nothing get `no_slot`.
template <typename Scheme, typename Index>
SlotBlock<Scheme> read_slots(const Side<Scheme, Index>& side, const Scheme& scheme, Range positions,
                             std::uint32_t no_slot, SlotScratch<Scheme>& scratch) {
  const auto count = static_cast<std::size_t>(positions.size());
  if (side.placement.scattered()) {
    const auto* locals = side.locals.data() + positions.begin;
    if constexpr (Scheme::kExact) return {locals, locals};
    for (std::size_t i = 0; i < count; ++i) scratch.slots[i] = scheme.slot(locals[i]);
    return {scratch.slots.data(), locals};
  }
  const auto nowhere = static_cast<Scheme::Slot>(no_slot);
  const CodeBlock block = side.reader->read(positions, scratch.code);
  for (std::size_t i = 0; i < count; ++i) {
    const auto split = scheme.split(block.codes[i]);
    const bool unmatched = block.unmatched != nullptr && block.unmatched[i] != 0;
    scratch.locals[i] = split.local;
    const bool outside = unmatched || split.partition != 0;
    scratch.slots[i] = outside ? nowhere : scheme.slot(split.local);
  }
  return {scratch.slots.data(), scratch.locals.data()};
}

// Reused for one partition after the other.
template <typename Index>
class SlotTable {
 public:
  // Two slots past the last hold nothing that matches: one for build rows, one for probes. The
  // lists end with room for reading kUncheckedMatches at any place.
  SlotTable(std::int64_t slots, std::int64_t most_rows)
      : slots_(slots), starts_(slots + 4), rows_(most_rows + join_config::kUncheckedMatches) {}

  [[nodiscard]] std::uint32_t no_build_slot() const { return static_cast<std::uint32_t>(slots_); }
  [[nodiscard]] std::uint32_t no_probe_slot() const {
    return static_cast<std::uint32_t>(slots_ + 1);
  }

  // starts()[slot] to starts()[slot + 1] are the places in rows(), where the positions are.
  [[nodiscard]] const Index* starts() const { return starts_.data(); }
  [[nodiscard]] const Index* rows() const { return rows_.data(); }

  template <typename Scheme>
  void build(const Side<Scheme, Index>& side, const Scheme& scheme, Range positions,
             SlotScratch<Scheme>& scratch) {
    std::fill(starts_.begin(), starts_.end(), Index{0});
    count(side, scheme, positions, scratch);
    Index sum = 0;
    for (Index& start : starts_.span()) start = sum += start;
    place(side, scheme, positions, scratch);
  }

 private:
  // Counts two places on: after the sum, start[slot + 1] is where the slot begins, and placing
  // moves it to where the slot ends.
  template <typename Scheme>
  void count(const Side<Scheme, Index>& side, const Scheme& scheme, Range positions,
             SlotScratch<Scheme>& scratch) {
    for_blocks(positions, join_config::kBlockRows, [&](Range range) {
      const auto block = read_slots(side, scheme, range, no_build_slot(), scratch);
      Index* counts = starts_.data() + 2;
      for (std::int64_t i = 0; i < range.size(); ++i) ++counts[block.slots[i]];
    });
  }

  template <typename Scheme>
  void place(const Side<Scheme, Index>& side, const Scheme& scheme, Range positions,
             SlotScratch<Scheme>& scratch) {
    for_blocks(positions, join_config::kBlockRows, [&](Range range) {
      const auto block = read_slots(side, scheme, range, no_build_slot(), scratch);
      Index* __restrict next = starts_.data() + 1;
      Index* __restrict rows = rows_.data();
      const auto first = static_cast<Index>(range.begin);
      for (std::int64_t i = 0; i < range.size(); ++i) {
        rows[next[block.slots[i]]++] = first + static_cast<Index>(i);
      }
    });
  }

  std::int64_t slots_;
  OwnedArray<Index> starts_;
  OwnedArray<Index> rows_;
};

}  // namespace elevon::kernel

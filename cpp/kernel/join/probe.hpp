// Probes the slot table of one partition and writes the pairs that match.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "kernel/join/config.hpp"
#include "kernel/join/equal.hpp"
#include "kernel/join/pairs.hpp"
#include "kernel/join/table.hpp"

namespace elevon::kernel {

// What the join type wants beyond matching pairs.
struct MatchRules {
  bool keep_probe = false;  // probe rows without a partner
  bool keep_build = false;  // build rows without a partner
  bool existence = false;   // no pairs: only whether a probe row has a partner
};

// Compares the keys at positions of both sides, where equal codes are not enough.
template <typename Index>
struct Verifier {
  const KeyEquality* equality = nullptr;  // of columns by position; nullptr: codes are enough
  bool build_left = false;

  void compare(const Index* probe, const Index* build, std::int64_t count,
               std::uint8_t* equal) const {
    std::array<std::int64_t, join_config::kBlockRows> probe_numbers;
    std::array<std::int64_t, join_config::kBlockRows> build_numbers;
    std::copy_n(probe, count, probe_numbers.begin());
    std::copy_n(build, count, build_numbers.begin());
    const auto& left = build_left ? build_numbers : probe_numbers;
    const auto& right = build_left ? probe_numbers : build_numbers;
    equality->compare(left.data(), right.data(), count, equal);
  }
};

// What all probers of a join share.
template <typename Scheme, typename Index>
struct ProbeContext {
  const Scheme& scheme;
  const Side<Scheme, Index>& probe;
  const Side<Scheme, Index>& build;
  Verifier<Index> verifier;
  MatchRules rules;
  std::uint8_t* build_matched = nullptr;  // by build position; of keep_build
  std::uint8_t* probe_matched = nullptr;  // by probe position; of existence
};

template <typename Scheme, typename Index>
class Prober {
 public:
  Prober(const ProbeContext<Scheme, Index>& context, std::int64_t chunk_rows)
      : context_(context), sink_(chunk_rows) {}

  [[nodiscard]] SlotScratch<Scheme>& scratch() { return scratch_; }
  [[nodiscard]] PairSink<Index>& sink() { return sink_; }

  // Probe positions of one partition against its table.
  void probe(const SlotTable<Index>& table, Range positions) {
    for_blocks(positions, join_config::kBlockRows, [&](Range range) {
      block_ = read_slots(context_.probe, context_.scheme, range, table.no_probe_slot(), scratch_);
      begin_ = static_cast<Index>(range.begin);
      if (context_.rules.existence) {
        find_existing(table, range.size());
      } else {
        find_pairs(table, range.size());
      }
    });
  }

 private:
  static constexpr std::int64_t kUnchecked = join_config::kUncheckedMatches;
  // As many positions as are written without asking; the compiler makes one store of it.
  using Batch = std::array<Index, join_config::kUncheckedMatches>;

  void find_pairs(const SlotTable<Index>& table, std::int64_t count) {
    sink_.reserve((count + 1) * kUnchecked);
    settled_ = sink_.size();
    if (context_.rules.keep_probe) matched_.fill(0);
    write_candidates(table, count);
    settle();
    if (context_.rules.keep_probe) keep_unmatched(count);
  }

  // Branch-free for up to kUnchecked candidates a row: all are written, and the end of the list
  // moves by as many as there are.
  void write_candidates(const SlotTable<Index>& table, std::int64_t count) {
    const Index* starts = table.starts();
    const Index* rows = table.rows();
    const auto* slots = block_.slots;
    const Index begin = begin_;
    Index* probe = sink_.probe();
    Index* build = sink_.build();
    std::int64_t size = sink_.size();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::size_t slot = slots[i];
      const Index start = starts[slot];
      const auto found = static_cast<std::int64_t>(starts[slot + 1] - start);
      const Index position = begin + static_cast<Index>(i);
      if (found > kUnchecked) [[unlikely]] {
        sink_.set_size(size);
        write_run(position, rows + start, found, (count - i) * kUnchecked);
        probe = sink_.probe();
        build = sink_.build();
        size = sink_.size();
        continue;
      }
      Batch positions;
      positions.fill(position);
      std::memcpy(probe + size, positions.data(), sizeof(Batch));
      std::memcpy(build + size, rows + start, sizeof(Batch));
      size += found;
    }
    sink_.set_size(size);
  }

  // Many candidates of one row, over as many segments as they need; leaves room for `spare`.
  void write_run(Index position, const Index* rows, std::int64_t found, std::int64_t spare) {
    while (found > 0) {
      if (sink_.room() <= spare) {
        settle();
        sink_.reserve(spare + 1);
        settled_ = sink_.size();
      }
      const std::int64_t count = std::min(found, sink_.room() - spare);
      std::fill_n(sink_.probe() + sink_.size(), count, position);
      std::copy_n(rows, count, sink_.build() + sink_.size());
      sink_.set_size(sink_.size() + count);
      rows += count;
      found -= count;
    }
  }

  // Reduces what was written since the last time to real matches, and marks them.
  void settle() {
    if constexpr (!Scheme::kExact) drop_unequal_codes();
    if (context_.verifier.equality != nullptr) drop_unequal_rows();
    const Index* probe = sink_.probe();
    const Index* build = sink_.build();
    if (context_.rules.keep_probe) {
      for (std::int64_t i = settled_; i < sink_.size(); ++i) matched_[probe[i] - begin_] = 1;
    }
    if (context_.rules.keep_build) {
      for (std::int64_t i = settled_; i < sink_.size(); ++i) mark(context_.build_matched[build[i]]);
    }
    settled_ = sink_.size();
  }

  // Threads that probe one table together may set the same mark.
  static void mark(std::uint8_t& matched) {
    std::atomic_ref(matched).store(1, std::memory_order_relaxed);
  }

  void drop_unequal_codes() {
    Index* probe = sink_.probe();
    Index* build = sink_.build();
    const auto* build_codes = context_.build.locals.data();
    std::int64_t kept = settled_;
    for (std::int64_t i = settled_; i < sink_.size(); ++i) {
      const Index left = probe[i];
      const Index right = build[i];
      probe[kept] = left;
      build[kept] = right;
      kept += block_.codes[left - begin_] == build_codes[right] ? 1 : 0;
    }
    sink_.set_size(kept);
  }

  void drop_unequal_rows() {
    std::array<std::uint8_t, join_config::kBlockRows> equal;
    Index* probe = sink_.probe();
    Index* build = sink_.build();
    std::int64_t kept = settled_;
    for_blocks({settled_, sink_.size()}, join_config::kBlockRows, [&](Range range) {
      context_.verifier.compare(probe + range.begin, build + range.begin, range.size(),
                                equal.data());
      for (std::int64_t i = 0; i < range.size(); ++i) {
        probe[kept] = probe[range.begin + i];
        build[kept] = build[range.begin + i];
        kept += equal[static_cast<std::size_t>(i)];
      }
    });
    sink_.set_size(kept);
  }

  void keep_unmatched(std::int64_t count) {
    sink_.reserve(count);
    std::int64_t size = sink_.size();
    for (std::int64_t i = 0; i < count; ++i) {
      sink_.probe()[size] = begin_ + static_cast<Index>(i);
      sink_.build()[size] = kNoPosition<Index>;
      size += matched_[static_cast<std::size_t>(i)] == 0 ? 1 : 0;
    }
    sink_.set_size(size);
  }

  void find_existing(const SlotTable<Index>& table, std::int64_t count) {
    std::uint8_t* matched = context_.probe_matched + begin_;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::size_t slot = block_.slots[i];
      const Index start = table.starts()[slot];
      const Index end = table.starts()[slot + 1];
      const Index* rows = table.rows();
      if constexpr (Scheme::kExact) {
        matched[i] = start != end ? 1 : 0;
      } else {
        matched[i] =
            std::any_of(rows + start, rows + end, [&](Index row) { return equals(i, row); }) ? 1
                                                                                             : 0;
      }
    }
  }

  bool equals(std::int64_t i, Index build_position) const {
    if (block_.codes[i] != context_.build.locals[build_position]) return false;
    if (context_.verifier.equality == nullptr) return true;
    const Index probe_position = begin_ + static_cast<Index>(i);
    std::uint8_t equal = 0;
    context_.verifier.compare(&probe_position, &build_position, 1, &equal);
    return equal != 0;
  }

  const ProbeContext<Scheme, Index>& context_;
  PairSink<Index> sink_;
  SlotScratch<Scheme> scratch_;
  SlotBlock<Scheme> block_{};
  Index begin_ = 0;
  std::int64_t settled_ = 0;
  std::array<std::uint8_t, join_config::kBlockRows> matched_{};
};

}  // namespace elevon::kernel

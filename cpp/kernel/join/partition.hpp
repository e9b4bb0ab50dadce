// Both sides in partitions: where every row goes, and what is kept of its code there.
//
// The counts come first, so that every partition has its exact place; then each thread moves its
// own rows, in order. Plain stores beat write combining up to 512 partitions here, because the
// lines being filled fit L1 and L2 (see join_config).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/base/parallel.hpp"
#include "kernel/join/config.hpp"
#include "kernel/join/keys.hpp"
#include "kernel/join/pieces.hpp"
#include "kernel/join/plan.hpp"

namespace elevon::kernel {

// Where the rows of one side are. A position is a row's place in the order of partitions; without
// scattering it is the row's number. Index is uint32_t, or int64_t for 2^32 rows and more.
template <typename Index>
class Placement {
 public:
  // All rows in one partition, where they are.
  explicit Placement(std::int64_t rows) : rows_(rows), starts_{0, rows, rows} {}

  // From counts[part][partition] of the rows of each part (part_of): partitions + 1 counts each,
  // the last for rows that match nothing.
  Placement(std::int64_t rows, int parts, const std::vector<std::vector<Index>>& counts)
      : rows_(rows), cursors_(counts), parts_(parts), partition_of_(rows) {
    Index next = 0;
    for (std::size_t partition = 0; partition < counts.front().size(); ++partition) {
      starts_.push_back(static_cast<std::int64_t>(next));
      for (auto& cursor : cursors_) {
        const Index count = cursor[partition];
        cursor[partition] = next;
        next += count;
      }
    }
    starts_.push_back(rows);
  }

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] bool scattered() const { return parts_ > 0; }
  [[nodiscard]] int partitions() const { return static_cast<int>(starts_.size()) - 2; }
  [[nodiscard]] Range partition(int index) const {
    const auto at = static_cast<std::size_t>(index);
    return {starts_[at], starts_[at + 1]};
  }
  // Rows that match nothing and were told so before they were placed.
  [[nodiscard]] Range outside() const { return partition(partitions()); }

  [[nodiscard]] int parts() const { return parts_; }
  [[nodiscard]] Range part(int index) const { return part_of(rows_, parts_, index); }
  // The first position in each partition for the rows of a part.
  [[nodiscard]] std::vector<Index> cursors(int part) const {
    return cursors_[static_cast<std::size_t>(part)];
  }
  [[nodiscard]] std::uint16_t* partition_of() const { return partition_of_.data(); }

 private:
  std::int64_t rows_;
  std::vector<std::vector<Index>> cursors_;
  int parts_ = 0;
  OwnedArray<std::uint16_t> partition_of_;
  std::vector<std::int64_t> starts_;
};

// One side, ready to be matched. Without scattering, codes are read from where they are.
template <typename Scheme, typename Index>
struct Side {
  const CodeReader* reader;  // of a scattered side only while it is being scattered
  Placement<Index> placement;
  // What is kept of each code, by position; of an unscattered side only if it is to be compared.
  OwnedArray<typename Scheme::Local> locals;
};

namespace partition_detail {

// Neighbouring rows often go to one partition (sorted or skewed keys): several counters for each
// keep an increment from waiting for the last one.
inline constexpr std::size_t kLanes = 4;

// Calls f(partition_of), the number of a row of the block: one function where rows are marked, and
// a shorter one where they are not.
template <typename Scheme, typename F>
void with_partitions(const Scheme& scheme, const CodeBlock& block, std::uint32_t outside, F&& f) {
  if (block.unmatched == nullptr) {
    return f([&](std::size_t i) { return scheme.split(block.codes[i]).partition; });
  }
  f([&](std::size_t i) {
    return block.unmatched[i] != 0 ? outside : scheme.split(block.codes[i]).partition;
  });
}

template <typename Index, typename PartitionOf>
void count_block(PartitionOf&& partition_of, std::size_t count, std::size_t partitions,
                 Index* __restrict lanes) {
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      ++lanes[lane * partitions + partition_of(i + lane)];
    }
  }
  for (; i < count; ++i) ++lanes[partition_of(i)];
}

template <typename Index, typename Scheme>
std::vector<Index> count_part(const CodeReader& reader, const Scheme& scheme, Range rows,
                              std::uint32_t outside) {
  const std::size_t size = outside + 1;
  std::vector<Index> lanes(size * kLanes);
  CodeScratch scratch;
  for_blocks(rows, join_config::kBlockRows, [&](Range range) {
    const CodeBlock block = reader.read(range, scratch);
    with_partitions(scheme, block, outside, [&](auto&& partition_of) {
      count_block(partition_of, static_cast<std::size_t>(range.size()), size, lanes.data());
    });
  });
  std::vector<Index> counts(lanes.begin(), lanes.begin() + static_cast<std::ptrdiff_t>(size));
  for (std::size_t i = size; i < lanes.size(); ++i) counts[i % size] += lanes[i];
  return counts;
}

// Moves what is kept of each code to its partition, and notes the partition by row.
template <typename Scheme, typename Index, typename PartitionOf>
void scatter_block(const Scheme& scheme, const std::uint64_t* codes, PartitionOf&& partition_of,
                   std::size_t count, Index* __restrict next, std::uint16_t* __restrict noted,
                   typename Scheme::Local* __restrict locals) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t partition = partition_of(i);
    noted[i] = static_cast<std::uint16_t>(partition);
    locals[next[partition]++] = scheme.split(codes[i]).local;
  }
}

template <typename Scheme, typename Index>
void scatter_part(const Side<Scheme, Index>& side, const Scheme& scheme, int part) {
  const auto outside = static_cast<std::uint32_t>(side.placement.partitions());
  std::vector<Index> cursors = side.placement.cursors(part);
  CodeScratch scratch;
  for_blocks(side.placement.part(part), join_config::kBlockRows, [&](Range range) {
    const CodeBlock block = side.reader->read(range, scratch);
    with_partitions(scheme, block, outside, [&](auto&& partition_of) {
      scatter_block(scheme, block.codes, partition_of, static_cast<std::size_t>(range.size()),
                    cursors.data(), side.placement.partition_of() + range.begin,
                    side.locals.data());
    });
  });
}

}  // namespace partition_detail

// Scatters a side into its partitions.
template <typename Scheme, typename Index>
Side<Scheme, Index> scatter_side(const CodeReader& reader, std::int64_t rows, const Scheme& scheme,
                                 const JoinPlan& plan) {
  const int parts = useful_threads(rows, plan.threads);
  const auto outside = static_cast<std::uint32_t>(plan.partitions());
  std::vector<std::vector<Index>> counts(static_cast<std::size_t>(parts));
  parallel(parts, [&](int part) {
    counts[static_cast<std::size_t>(part)] =
        partition_detail::count_part<Index>(reader, scheme, part_of(rows, parts, part), outside);
  });
  Side<Scheme, Index> side{&reader, Placement<Index>(rows, parts, counts),
                           OwnedArray<typename Scheme::Local>(rows)};
  parallel(parts, [&](int part) { partition_detail::scatter_part(side, scheme, part); });
  return side;
}

// Leaves a side where it is; `keep_codes` if others will be compared with them by position.
template <typename Scheme, typename Index>
Side<Scheme, Index> leave_side(const CodeReader& reader, std::int64_t rows, const Scheme& scheme,
                               bool keep_codes) {
  Side<Scheme, Index> side{&reader, Placement<Index>(rows), {}};
  if (!keep_codes) return side;
  side.locals = OwnedArray<typename Scheme::Local>(rows);
  CodeScratch scratch;
  for_blocks({0, rows}, join_config::kBlockRows, [&](Range range) {
    const CodeBlock block = reader.read(range, scratch);
    for (std::int64_t i = 0; i < range.size(); ++i) {
      side.locals[range.begin + i] = scheme.split(block.codes[i]).local;
    }
  });
  return side;
}

}  // namespace elevon::kernel

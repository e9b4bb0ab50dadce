// Lists of matches as they are found: pairs of positions, in segments of one partition each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernel/base/buffer.hpp"
#include "kernel/take/take.hpp"

namespace elevon::kernel {

// The position that stands for "no row on this side".
template <typename Index>
inline constexpr Index kNoPosition =
    std::is_same_v<Index, std::uint32_t> ? static_cast<Index>(kNoRow32) : static_cast<Index>(-1);

template <typename Index>
struct Segment {
  int partition = 0;
  std::int64_t order = 0;  // among the segments of a partition
  const Index* probe = nullptr;
  const Index* build = nullptr;
  std::int64_t size = 0;
  std::int64_t begin = 0;  // its first row in the result
};

// Memory of segments; pairs of a chunk lie in two arrays.
template <typename Index>
struct PairChunk {
  OwnedArray<Index> probe;
  OwnedArray<Index> build;
};

// Grows by chunks, so that nothing that was written is ever copied. One for each thread.
template <typename Index>
class PairSink {
 public:
  explicit PairSink(std::int64_t chunk_rows) : chunk_rows_(chunk_rows) {}

  // What follows belongs to a partition.
  void open(int partition, std::int64_t order) {
    close();
    partition_ = partition;
    order_ = order;
  }
  // Ends the segment that is being written.
  void close() {
    if (size_ > first_) {
      segments_.push_back(
          {partition_, order_, probe() + first_, build() + first_, size_ - first_, 0});
    }
    first_ = size_;
  }
  // Makes room for `pairs` more; may end a segment and start another one.
  void reserve(std::int64_t pairs) {
    if (room() >= pairs) return;
    close();
    capacity_ = std::max(chunk_rows_, pairs);
    chunks_.push_back({OwnedArray<Index>(capacity_), OwnedArray<Index>(capacity_)});
    first_ = size_ = 0;
  }

  [[nodiscard]] std::int64_t room() const { return capacity_ - size_; }
  [[nodiscard]] Index* probe() const { return chunks_.back().probe.data(); }
  [[nodiscard]] Index* build() const { return chunks_.back().build.data(); }
  // Pairs in the chunk so far. Writers write behind it and set it.
  [[nodiscard]] std::int64_t size() const { return size_; }
  void set_size(std::int64_t size) { size_ = size; }

  void append(Index probe_position, Index build_position) {
    reserve(1);
    probe()[size_] = probe_position;
    build()[size_] = build_position;
    ++size_;
  }

  // Moves all to the end of `segments` and `chunks`.
  void drain(std::vector<Segment<Index>>& segments, std::vector<PairChunk<Index>>& chunks) {
    close();
    segments.insert(segments.end(), segments_.begin(), segments_.end());
    for (auto& chunk : chunks_) chunks.push_back(std::move(chunk));
    segments_.clear();
    chunks_.clear();
    first_ = size_ = capacity_ = 0;
  }

 private:
  std::int64_t chunk_rows_;
  std::vector<PairChunk<Index>> chunks_;
  std::vector<Segment<Index>> segments_;
  std::int64_t first_ = 0;
  std::int64_t size_ = 0;
  std::int64_t capacity_ = 0;
  int partition_ = 0;
  std::int64_t order_ = 0;
};

}  // namespace elevon::kernel

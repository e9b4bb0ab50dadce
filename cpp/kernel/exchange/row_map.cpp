// Counts the rows of each partition and sorts them block by block.

#include "kernel/exchange/row_map.hpp"

#include <algorithm>

#include "kernel/base/config.hpp"

namespace elevon::kernel {
namespace {

// More partitions need larger blocks, so that a block still has a run of rows for each of them.
// 16 bits number the rows of a block.
std::int64_t block_rows(int partitions) {
  return std::clamp<std::int64_t>(config::kRunRows * partitions, config::kScatterBlock, 65536);
}

// Few partitions make neighbouring rows count up one number, each waiting for the one before it;
// two rows at a time on separate counters hide most of that.
void count_rows(const std::uint16_t* numbers, std::int64_t rows, std::span<std::uint32_t> counts,
                std::vector<std::uint32_t>& spare) {
  std::ranges::fill(counts, 0);
  spare.assign(counts.size(), 0);
  std::int64_t row = 0;
  for (; row + 2 <= rows; row += 2) {
    ++counts[numbers[row]];
    ++spare[numbers[row + 1]];
  }
  if (row < rows) ++counts[numbers[row]];
  for (std::size_t index = 0; index < counts.size(); ++index) counts[index] += spare[index];
}

}  // namespace

RowMap::RowMap(const RowNumberer& numberer, Range rows, const std::vector<std::int64_t>& cuts,
               int partitions, int workers)
    : rows_(rows), partitions_(partitions), workers_(workers), numbers_(rows.size()) {
  cut_blocks(cuts);
  counts_ = OwnedArray<std::uint32_t>(std::ssize(blocks_) * partitions);
  starts_.assign(index(workers + 1, 0), 0);
  parallel(workers, [&](int worker) { number_rows(numberer, worker); });
  sum_starts();
}

void RowMap::cut_blocks(const std::vector<std::int64_t>& cuts) {
  const std::int64_t most = block_rows(partitions_);
  for (int worker = 0; worker < workers_; ++worker) {
    first_block_.push_back(blocks_.size());
    const Range part = part_of(rows_.size(), workers_, worker);
    const std::int64_t end = rows_.begin + part.end;
    std::int64_t row = rows_.begin + part.begin;
    auto cut = std::upper_bound(cuts.begin(), cuts.end(), row);
    while (row < end) {
      const std::int64_t limit = std::min(end, cut == cuts.end() ? end : *cut);
      blocks_.push_back({row, std::min(limit, row + most)});
      row = blocks_.back().end;
      if (cut != cuts.end() && row == *cut) ++cut;
    }
  }
  first_block_.push_back(blocks_.size());
}

// Leaves the worker's counts in starts_, where sum_starts finds them.
void RowMap::number_rows(const RowNumberer& numberer, int worker) {
  std::vector<std::uint32_t> spare;
  const auto parts = static_cast<std::size_t>(partitions_);
  const std::size_t end = first_block_[static_cast<std::size_t>(worker) + 1];
  for (std::size_t at = first_block_[static_cast<std::size_t>(worker)]; at < end; ++at) {
    const Range rows = blocks_[at];
    std::uint16_t* numbers = numbers_.data() + (rows.begin - rows_.begin);
    numberer(rows, numbers);
    const std::span<std::uint32_t> counts = counts_.span().subspan(at * parts, parts);
    count_rows(numbers, rows.size(), counts, spare);
    for (std::size_t part = 0; part < parts; ++part) {
      starts_[index(worker + 1, 0) + part] += counts[part];
    }
  }
}

void RowMap::sum_starts() {
  for (std::size_t at = index(1, 0); at < starts_.size(); ++at) {
    starts_[at] += starts_[at - static_cast<std::size_t>(partitions_)];
  }
}

RowMap::BlockCursor::BlockCursor(const RowMap& map, int worker, bool ordered)
    : map_(map),
      at_(map.first_block_[static_cast<std::size_t>(worker)]),
      end_(map.first_block_[static_cast<std::size_t>(worker) + 1]),
      block_{worker, {}, map.partitions_, nullptr, nullptr, nullptr, nullptr, false},
      cursors_(static_cast<std::size_t>(map.partitions_)) {
  for (int partition = 0; partition < map.partitions_; ++partition) {
    positions_.push_back(map.start(worker, partition));
  }
  if (ordered) order_.resize(static_cast<std::size_t>(block_rows(map.partitions_)));
  block_.positions = positions_.data();
  block_.order = order_.data();
}

bool RowMap::BlockCursor::next() {
  if (block_.counts != nullptr) {
    for (std::size_t at = 0; at < positions_.size(); ++at) positions_[at] += block_.counts[at];
  }
  if (at_ == end_) return false;
  block_.rows = map_.blocks_[at_];
  block_.numbers = map_.numbers_.data() + (block_.rows.begin - map_.rows_.begin);
  block_.counts = map_.counts_.data() + std::ssize(positions_) * static_cast<std::int64_t>(at_);
  block_.roomy = is_roomy();
  if (!order_.empty()) sort_rows();
  ++at_;
  return true;
}

// A counting sort of the block's rows: stable, so that partitions keep the order of rows.
void RowMap::BlockCursor::sort_rows() {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at < cursors_.size(); ++at) {
    cursors_[at] = sum;
    sum += block_.counts[at];
  }
  const std::int64_t rows = block_.rows.size();
  for (std::int64_t row = 0; row < rows; ++row) {
    order_[cursors_[block_.numbers[row]]++] = static_cast<std::uint16_t>(row);
  }
}

bool RowMap::BlockCursor::is_roomy() const {
  for (int partition = 0; partition < map_.partitions_; ++partition) {
    const auto at = static_cast<std::size_t>(partition);
    const std::int64_t end = map_.start(block_.worker + 1, partition);
    if (positions_[at] + block_.counts[at] + config::kCacheLine / 4 > end) return false;
  }
  return true;
}

}  // namespace elevon::kernel

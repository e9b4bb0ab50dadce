// Partition: number the rows, plan each partition's frame exactly, then move every column.

#include "kernel/exchange/partition.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernel/base/config.hpp"
#include "kernel/base/stream_store.hpp"
#include "kernel/exchange/compact.hpp"
#include "kernel/exchange/pack.hpp"
#include "kernel/exchange/pack_bytes.hpp"
#include "kernel/exchange/partition_simd.hpp"
#include "kernel/exchange/scatter.hpp"
#include "kernel/keys/hash.hpp"
#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

using arrow::ArrayPtr;
using arrow::Column;
using arrow::Layout;
using arrow::Table;

// Whether one frame can hold the pieces: a partition never needs more than all of them.
bool fits_offsets(const arrow::Type& type, const std::vector<ArrayPtr>& pieces) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (type.layout == Layout::Offsets32 || type.layout == Layout::List32) {
    if (spanned<std::int32_t>(pieces) > kMost) return false;
  }
  // Dictionaries travel by entry: what they hold together came in one array already.
  for (std::size_t index = 0; index < type.children.size(); ++index) {
    if (!fits_offsets(*type.children[index].type, children_of(pieces, index))) return false;
  }
  return true;
}

// The table's rows in ranges that fit one frame each: nearly always one.
void cut_ranges(const Table& table, Range rows, std::vector<Range>& ranges) {
  const bool fits = std::ranges::all_of(table.columns(), [&](const Column& column) {
    return fits_offsets(column.type(), pieces_of(column, rows));
  });
  if (fits || rows.size() < 2) {
    ranges.push_back(rows);
    return;
  }
  const std::int64_t middle = rows.begin + rows.size() / 2;
  cut_ranges(table, {rows.begin, middle}, ranges);
  cut_ranges(table, {middle, rows.end}, ranges);
}

// Where chunks of any column end.
std::vector<std::int64_t> chunk_ends(const Table& table) {
  std::vector<std::int64_t> ends;
  for (const Column& column : table.columns()) {
    ends.insert(ends.end(), column.starts().begin(), column.starts().end());
  }
  std::ranges::sort(ends);
  const auto repeated = std::ranges::unique(ends);
  ends.erase(repeated.begin(), repeated.end());
  return ends;
}

bool is_direct(const arrow::Type& type) {
  return type.layout == Layout::Fixed || type.layout == Layout::Bits || type.is_binary();
}

// Moves the rows of one range into one frame for each partition.
class Partitioner {
 public:
  Partitioner(const Table& table, const RowNumberer& numberer, Range rows, int partitions,
              int threads)
      : map_(numberer, rows, chunk_ends(table), partitions, useful_threads(rows.size(), threads)) {
    make_scatterers(table, threads);
    for (int partition = 0; partition < partitions; ++partition) {
      layouts_.emplace_back(map_.size(partition));
    }
  }

  // Sizes are known after this, and nothing has moved yet.
  void plan() {
    measure();
    each_partition([&](int partition) {
      for (const ScattererPtr& scatterer : scatterers_) {
        scatterer->plan(planned(partition), partition);
      }
    });
  }

  [[nodiscard]] const FrameLayout& layout(int partition) const {
    return layouts_[static_cast<std::size_t>(partition)];
  }

  // Writes each partition's frame to its place.
  void run(std::vector<std::byte*> frames) {
    frames_ = std::move(frames);
    place();
    scatter();
    finish();
  }

 private:
  void make_scatterers(const Table& table, int threads) {
    const bool gathers = !std::ranges::all_of(
        table.columns(), [](const Column& column) { return is_direct(column.type()); });
    if (gathers) list_rows();
    for (const Column& column : table.columns()) {
      const arrow::Type& type = column.type();
      if (!is_direct(type)) {
        scatterers_.push_back(scatter_gathered(column, map_, rows_.data(), threads));
      } else if (type.is_binary()) {
        scatterers_.push_back(scatter_strings(column, map_));
      } else {
        scatterers_.push_back(scatter_values(column, map_));
      }
    }
  }

  // The table's row numbers, partition after partition.
  void list_rows() {
    std::vector<std::int64_t> firsts;
    std::int64_t sum = 0;
    for (int partition = 0; partition < map_.partitions(); ++partition) {
      firsts.push_back(sum);
      sum += map_.size(partition);
    }
    rows_ = OwnedArray<std::int64_t>(sum);
    each_block(true, [&](const Block& block) {
      block.each([&](int partition, const std::uint16_t* order, std::int64_t count,
                     std::int64_t position) {
        std::int64_t* out = rows_.data() + firsts[static_cast<std::size_t>(partition)] + position;
        for (std::int64_t row = 0; row < count; ++row) out[row] = block.rows.begin + order[row];
      });
    });
  }

  template <typename F>
  void each_block(bool ordered, F&& f) {
    parallel(map_.workers(), [&](int worker) {
      map_.each_block(worker, ordered, f);
      stream_fence();
    });
  }

  void measure() {
    std::vector<Scatterer*> measured;
    for (const ScattererPtr& scatterer : scatterers_) {
      if (scatterer->needs_measure()) measured.push_back(scatterer.get());
    }
    if (measured.empty()) return;
    each_block(false, [&](const Block& block) {
      for (Scatterer* scatterer : measured) scatterer->measure(block);
    });
  }

  // Calls f(partition) for those with rows; a frame without rows has no columns.
  template <typename F>
  void each_partition(F&& f) {
    for (int partition = 0; partition < map_.partitions(); ++partition) {
      if (map_.size(partition) > 0) f(partition);
    }
  }

  FrameLayout& planned(int partition) { return layouts_[static_cast<std::size_t>(partition)]; }
  std::byte* frame(int partition) { return frames_[static_cast<std::size_t>(partition)]; }

  void place() {
    each_partition([&](int partition) {
      for (const ScattererPtr& scatterer : scatterers_) {
        scatterer->place(layout(partition), frame(partition), partition);
      }
    });
  }

  void scatter() {
    const bool ordered = std::ranges::any_of(
        scatterers_, [](const ScattererPtr& scatterer) { return scatterer->needs_order(); });
    each_block(ordered, [&](const Block& block) {
      for (const ScattererPtr& scatterer : scatterers_) scatterer->scatter(block);
    });
  }

  void finish() {
    each_partition([&](int partition) {
      for (const ScattererPtr& scatterer : scatterers_) {
        scatterer->finish(planned(partition), partition);
      }
    });
    for (int partition = 0; partition < map_.partitions(); ++partition) {
      layout(partition).write(frame(partition));
    }
  }

  RowMap map_;
  OwnedArray<std::int64_t> rows_;  // only where a column is gathered
  std::vector<ScattererPtr> scatterers_;
  std::vector<FrameLayout> layouts_;
  std::vector<std::byte*> frames_;
};

using Partitioners = std::vector<std::unique_ptr<Partitioner>>;

// Messages with room for every range's frame of their partition, and where each frame begins.
std::vector<Message> allocate(const Partitioners& ranges, int partitions,
                              std::vector<std::vector<std::byte*>>& places) {
  places.resize(ranges.size());
  std::vector<Message> messages;
  for (int partition = 0; partition < partitions; ++partition) {
    std::int64_t bytes = 0;
    std::int64_t rows = 0;
    for (const auto& range : ranges) {
      bytes += range->layout(partition).bytes();
      rows += range->layout(partition).rows();
    }
    messages.push_back({Buffer(bytes), rows});
    std::byte* at = messages.back().bytes.data();
    for (std::size_t index = 0; index < ranges.size(); ++index) {
      places[index].push_back(at);
      at += ranges[index]->layout(partition).bytes();
    }
  }
  return messages;
}

void check_partitions(int partitions) {
  if (partitions < 1 || partitions > kMaxPartitions) {
    throw std::invalid_argument("partitions must be from 1 to " + std::to_string(kMaxPartitions) +
                                ", not " + std::to_string(partitions));
  }
}

// Numbers rows by the hash of their keys.
RowNumberer by_hash(const RowHasher& hasher, int partitions) {
  return [&hasher, partitions](Range rows, std::uint16_t* numbers) {
    std::array<std::uint64_t, config::kHashBlock> hashes;
    for (std::int64_t row = rows.begin; row < rows.end; row += config::kHashBlock) {
      const Range step{row, std::min(rows.end, row + config::kHashBlock)};
      hasher(step, hashes.data());
      number_hashes(hashes.data(), step.size(), static_cast<std::uint32_t>(partitions),
                    numbers + (row - rows.begin));
    }
  };
}

std::vector<Message> split(const Table& table, const RowNumberer& numberer, int partitions,
                           int threads) {
  std::vector<Range> ranges;
  cut_ranges(table, {0, table.num_rows()}, ranges);
  Partitioners partitioners;
  for (const Range rows : ranges) {
    partitioners.push_back(
        std::make_unique<Partitioner>(table, numberer, rows, partitions, threads));
    partitioners.back()->plan();
  }
  std::vector<std::vector<std::byte*>> places;
  std::vector<Message> messages = allocate(partitioners, partitions, places);
  for (std::size_t index = 0; index < ranges.size(); ++index) {
    partitioners[index]->run(std::move(places[index]));
  }
  return messages;
}

std::vector<Message> whole(const Table& table) {
  std::vector<Message> messages;
  messages.push_back(pack_rows(table, {0, table.num_rows()}));
  return messages;
}

}  // namespace

std::vector<Message> partition(const Table& table, std::span<const Column* const> keys,
                               int partitions, int threads) {
  check_partitions(partitions);
  if (keys.empty()) throw std::invalid_argument("partition needs at least one key column");
  const RowHasher hasher(keys);
  if (partitions == 1) return whole(table);
  return split(table, by_hash(hasher, partitions), partitions, threads);
}

std::vector<Message> partition_numbered(const Table& table, std::span<const std::uint16_t> numbers,
                                        int partitions, int threads) {
  check_partitions(partitions);
  if (std::ssize(numbers) != table.num_rows()) {
    throw std::invalid_argument("there are " + std::to_string(numbers.size()) + " numbers for " +
                                std::to_string(table.num_rows()) + " rows");
  }
  if (!numbers.empty() && std::ranges::max(numbers) >= partitions) {
    throw std::invalid_argument("a row's number is not below " + std::to_string(partitions));
  }
  if (partitions == 1) return whole(table);
  const auto given = [numbers](Range rows, std::uint16_t* out) {
    const auto part = numbers.subspan(static_cast<std::size_t>(rows.begin),
                                      static_cast<std::size_t>(rows.size()));
    std::ranges::copy(part, out);
  };
  return split(table, given, partitions, threads);
}

}  // namespace elevon::kernel

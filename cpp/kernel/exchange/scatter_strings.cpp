// Scatters strings: sizes are summed first, so that each worker knows where its bytes go.

#include <cstring>

#include "kernel/base/small_copy.hpp"
#include "kernel/exchange/pack_bytes.hpp"
#include "kernel/exchange/scatter.hpp"

namespace elevon::kernel {
namespace {

using arrow::View;

std::size_t at(int partition) {
  return static_cast<std::size_t>(partition);
}

// How many bytes each worker has for each partition; after `sum` where they begin.
class ByteCounts {
 public:
  explicit ByteCounts(const RowMap& map) : map_(map), bytes_(map.index(map.workers() + 1, 0)) {}

  // The counter that the worker adds to (before sum) or starts from (after it).
  std::int64_t& add(int worker, int partition) { return bytes_[map_.index(worker + 1, partition)]; }
  std::int64_t& start(int worker, int partition) { return bytes_[map_.index(worker, partition)]; }

  void sum() {
    const auto parts = at(map_.partitions());
    for (std::size_t index = parts; index < bytes_.size(); ++index) {
      bytes_[index] += bytes_[index - parts];
    }
    totals_.assign(bytes_.end() - map_.partitions(), bytes_.end());
  }
  [[nodiscard]] std::int64_t total(int partition) const { return totals_[at(partition)]; }

 private:
  const RowMap& map_;
  std::vector<std::int64_t> bytes_;
  std::vector<std::int64_t> totals_;
};

// What strings of both forms share: null bitmap, one buffer by row, one of bytes.
class StringScatterer : public Scatterer {
 public:
  StringScatterer(const arrow::Column& column, const RowMap& map)
      : column_(column),
        map_(map),
        validity_(column, map.partitions()),
        bytes_(map),
        row_buffers_(at(map.partitions())),
        byte_buffers_(at(map.partitions())),
        row_targets_(at(map.partitions())),
        byte_targets_(at(map.partitions())) {}

  [[nodiscard]] bool needs_measure() const override { return true; }

  void measure(const Block& block) override {
    const BlockChunk chunk = chunk_of(column_, block);
    for (std::int64_t row = 0; row < block.rows.size(); ++row) {
      bytes_.add(block.worker, block.numbers[row]) += stored_bytes(chunk.array, chunk.row + row);
    }
  }

  void plan(FrameLayout& layout, int partition) override {
    if (!summed_) bytes_.sum();
    summed_ = true;
    validity_.plan(layout, partition);
    plan_buffers(layout, partition);
  }

  void place(const FrameLayout& layout, std::byte* frame, int partition) override {
    validity_.place(layout, frame, partition);
    row_targets_[at(partition)] = layout.at(frame, row_buffers_[at(partition)]);
    if (bytes_.total(partition) > 0) {
      byte_targets_[at(partition)] = layout.at(frame, byte_buffers_[at(partition)]);
    }
  }

  void scatter(const Block& block) override {
    const BlockChunk chunk = chunk_of(column_, block);
    if (validity_.has_nulls()) validity_.scatter(block, chunk);
    scatter_rows(block, chunk);
  }

  void finish(FrameLayout& layout, int partition) override { validity_.finish(layout, partition); }

 protected:
  // Bytes that a row adds to its partition's byte buffer.
  [[nodiscard]] virtual std::int64_t stored_bytes(const arrow::Array& array,
                                                  std::int64_t row) const = 0;
  virtual void plan_buffers(FrameLayout& layout, int partition) = 0;
  virtual void scatter_rows(const Block& block, const BlockChunk& chunk) = 0;

  const arrow::Column& column_;
  const RowMap& map_;
  ValidityScatter validity_;
  ByteCounts bytes_;
  bool summed_ = false;
  std::vector<std::size_t> row_buffers_;
  std::vector<std::size_t> byte_buffers_;
  std::vector<std::byte*> row_targets_;
  std::vector<std::byte*> byte_targets_;
};

template <typename Offset>
class OffsetScatterer : public StringScatterer {
 public:
  using StringScatterer::StringScatterer;

 protected:
  [[nodiscard]] std::int64_t stored_bytes(const arrow::Array& array,
                                          std::int64_t row) const override {
    const Offset* offsets = array.values<Offset>();
    return offsets[row + 1] - offsets[row];
  }

  void plan_buffers(FrameLayout& layout, int partition) override {
    const std::int64_t entries = map_.size(partition) + 1;
    row_buffers_[at(partition)] =
        layout.add_buffer(entries * static_cast<std::int64_t>(sizeof(Offset)));
    byte_buffers_[at(partition)] = layout.add_buffer(bytes_.total(partition));
  }

  void place(const FrameLayout& layout, std::byte* frame, int partition) override {
    StringScatterer::place(layout, frame, partition);
    auto* offsets = reinterpret_cast<Offset*>(row_targets_[at(partition)]);
    offsets[map_.size(partition)] = static_cast<Offset>(bytes_.total(partition));
  }

  void scatter_rows(const Block& block, const BlockChunk& chunk) override {
    const arrow::OffsetReader<Offset> read(chunk.array);
    block.each(
        [&](int partition, const std::uint16_t* rows, std::int64_t count, std::int64_t position) {
          auto* offsets = reinterpret_cast<Offset*>(row_targets_[at(partition)]) + position;
          std::byte* bytes = byte_targets_[at(partition)];
          std::int64_t end = bytes_.start(block.worker, partition);
          for (std::int64_t row = 0; row < count; ++row) {
            const std::string_view value = read(chunk.row + rows[row]);
            offsets[row] = static_cast<Offset>(end);
            small_copy(bytes + end, value.data(), static_cast<std::int64_t>(value.size()));
            end += static_cast<std::int64_t>(value.size());
          }
          bytes_.start(block.worker, partition) = end;
        });
  }
};

class ViewScatterer : public StringScatterer {
 public:
  using StringScatterer::StringScatterer;

 protected:
  [[nodiscard]] std::int64_t stored_bytes(const arrow::Array& array,
                                          std::int64_t row) const override {
    const std::int64_t length = array.values<View>()[row].length;
    return length > View::kInline && array.is_valid(row) ? length : 0;
  }

  void plan_buffers(FrameLayout& layout, int partition) override {
    row_buffers_[at(partition)] =
        layout.add_buffer(map_.size(partition) * static_cast<std::int64_t>(sizeof(View)));
    byte_buffers_[at(partition)] =
        layout.add_view_data(validity_.node(partition), bytes_.total(partition));
  }

  void scatter_rows(const Block& block, const BlockChunk& chunk) override {
    const View* views = chunk.array.values<View>() + chunk.row;
    const arrow::ViewReader read(chunk.array);
    block.each(
        [&](int partition, const std::uint16_t* rows, std::int64_t count, std::int64_t position) {
          auto* target = reinterpret_cast<View*>(row_targets_[at(partition)]) + position;
          std::int64_t& end = bytes_.start(block.worker, partition);
          for (std::int64_t row = 0; row < count; ++row) {
            const std::int64_t source = rows[row];
            target[row] = chunk.array.is_valid(chunk.row + source) ? views[source] : View{};
            const std::int64_t bytes = stored_bytes(chunk.array, chunk.row + source);
            if (bytes == 0) continue;
            target[row] = placed_view(views[source], end);
            std::memcpy(byte_targets_[at(partition)] + end, read(chunk.row + source).data(),
                        static_cast<std::size_t>(bytes));
            end += bytes;
          }
        });
  }
};

}  // namespace

ScattererPtr scatter_strings(const arrow::Column& column, const RowMap& map) {
  switch (column.type().layout) {
    case arrow::Layout::Offsets32:
      return std::make_unique<OffsetScatterer<std::int32_t>>(column, map);
    case arrow::Layout::Offsets64:
      return std::make_unique<OffsetScatterer<std::int64_t>>(column, map);
    default: return std::make_unique<ViewScatterer>(column, map);
  }
}

}  // namespace elevon::kernel

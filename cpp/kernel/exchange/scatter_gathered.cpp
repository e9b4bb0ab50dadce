// Scatters what cannot be written piece by piece: gathered for each partition, then packed.

#include <stdexcept>
#include <utility>

#include "kernel/exchange/pack.hpp"
#include "kernel/exchange/scatter.hpp"
#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

std::size_t at(int partition) {
  return static_cast<std::size_t>(partition);
}

class GatheredScatterer : public Scatterer {
 public:
  GatheredScatterer(const arrow::Column& column, const RowMap& map, const std::int64_t* rows,
                    int threads)
      : column_(column),
        source_(column),
        map_(map),
        rows_(rows),
        threads_(threads),
        tasks_(at(map.partitions())) {}

  [[nodiscard]] bool needs_order() const override { return false; }

  void plan(FrameLayout& layout, int partition) override {
    const std::int64_t size = map_.size(partition);
    const Rows rows(std::span(rows_, static_cast<std::size_t>(size)));
    rows_ += size;
    plan_column(layout, column_.field().type, {gathered(rows)}, tasks_[at(partition)]);
  }

  void place(const FrameLayout& layout, std::byte* frame, int partition) override {
    for (const FillTask& task : tasks_[at(partition)]) task.fill(layout.at(frame, task.buffer));
    tasks_[at(partition)].clear();  // and with them the gathered arrays
  }

  void scatter(const Block& /*block*/) override {}

 private:
  // Ranges are cut so that a partition fits its offsets; only list views that share their values
  // can still become too long when each gets its own.
  [[nodiscard]] arrow::ArrayPtr gathered(const Rows& rows) const {
    try {
      return gather_array(source_, rows, useful_threads(rows.size(), threads_));
    } catch (const OffsetOverflow&) {
      throw std::invalid_argument("the lists of column '" + column_.field().name +
                                  "' outgrow 32-bit offsets when they are written out");
    }
  }

  const arrow::Column& column_;
  Source source_;
  const RowMap& map_;
  const std::int64_t* rows_;
  int threads_;
  std::vector<std::vector<FillTask>> tasks_;
};

}  // namespace

ScattererPtr scatter_gathered(const arrow::Column& column, const RowMap& map,
                              const std::int64_t* rows, int threads) {
  return std::make_unique<GatheredScatterer>(column, map, rows, threads);
}

}  // namespace elevon::kernel

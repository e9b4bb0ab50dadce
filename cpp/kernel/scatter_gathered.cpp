// Scatters what cannot be written piece by piece: gathered for each partition, then packed.
// Before it: scatter.hpp, gather, pack.

#include <utility>

#include "kernel/gather.hpp"
#include "kernel/pack.hpp"
#include "kernel/scatter.hpp"

namespace elevon::kernel {
namespace {

std::size_t at(int partition) { return static_cast<std::size_t>(partition); }

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
    plan_column(layout, column_.field().type,
                {gather_array(source_, rows, useful_threads(size, threads_))},
                tasks_[at(partition)]);
  }

  void place(const FrameLayout& layout, std::byte* frame, int partition) override {
    for (const FillTask& task : tasks_[at(partition)]) task.fill(layout.at(frame, task.buffer));
    tasks_[at(partition)].clear();  // and with them the gathered arrays
  }

  void scatter(const Block& /*block*/) override {}

 private:
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

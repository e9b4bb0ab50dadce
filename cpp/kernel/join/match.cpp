// Deals partitions out to threads and puts their segments in order.

#include "kernel/join/match.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <numeric>
#include <tuple>

#include "kernel/base/parallel.hpp"
#include "kernel/join/config.hpp"

namespace elevon::kernel {

namespace {

// A list as long as its input, more or less, or one full segment.
std::int64_t chunk_rows(std::int64_t probe_rows, const JoinPlan& plan) {
  const std::int64_t expected =
      probe_rows + probe_rows / 4 + join_config::kBlockRows * join_config::kUncheckedMatches;
  return std::min(plan.segment_rows, expected);
}

template <typename Scheme, typename Index>
class Matcher {
 public:
  Matcher(const ProbeContext<Scheme, Index>& context, const JoinPlan& plan)
      : context_(context), plan_(plan) {}

  Matches<Index> run(OwnedArray<std::uint8_t> probe_matched) {
    sort_partitions();
    for (const int partition : large_) match_together(partition);
    parallel(plan_.threads, [&](int) { match_small(); });
    parallel(plan_.threads, [&](int thread) { keep_outside(thread); });
    finish();
    matches_.probe_matched = std::move(probe_matched);
    return std::move(matches_);
  }

 private:
  using ProberType = Prober<Scheme, Index>;

  [[nodiscard]] std::int64_t size_of(int partition) const {
    return context_.probe.placement.partition(partition).size() +
           context_.build.placement.partition(partition).size();
  }

  // Large ones occupy all threads one after the other; the rest goes to whoever is free, the
  // largest first.
  void sort_partitions() {
    const int count = context_.probe.placement.partitions();
    small_.resize(static_cast<std::size_t>(count));
    std::iota(small_.begin(), small_.end(), 0);
    std::stable_sort(small_.begin(), small_.end(),
                     [&](int a, int b) { return size_of(a) > size_of(b); });
    const std::int64_t rows = context_.probe.placement.rows() + context_.build.placement.rows();
    const std::int64_t limit = std::max(config::kRowsPerThread * plan_.threads,
                                        rows / count * join_config::kLargePartitionFactor);
    const auto first_small = std::find_if(small_.begin(), small_.end(), [&](int partition) {
      return plan_.threads == 1 || (count > 1 && size_of(partition) <= limit);
    });
    large_.assign(small_.begin(), first_small);
    small_.erase(small_.begin(), first_small);
  }

  [[nodiscard]] SlotTable<Index> make_table(std::int64_t rows) const {
    return SlotTable<Index>(plan_.slots(), rows);
  }

  [[nodiscard]] std::unique_ptr<ProberType> make_prober() const {
    const std::int64_t rows = context_.probe.placement.rows() / plan_.threads;
    return std::make_unique<ProberType>(context_, chunk_rows(rows, plan_));
  }

  void match_small() {
    std::int64_t most_rows = 0;
    for (const int partition : small_) {
      most_rows = std::max(most_rows, context_.build.placement.partition(partition).size());
    }
    if (small_.empty()) return;
    SlotTable<Index> table = make_table(most_rows);
    const auto prober = make_prober();
    for (std::size_t next = next_++; next < small_.size(); next = next_++) {
      match_alone(small_[next], table, *prober);
    }
    drain(*prober);
  }

  void match_alone(int partition, SlotTable<Index>& table, ProberType& prober) {
    const Range build = context_.build.placement.partition(partition);
    const Range probe = context_.probe.placement.partition(partition);
    if (skips(probe, build)) return;
    table.build(context_.build, context_.scheme, build, prober.scratch());
    prober.sink().open(partition, probe.begin);
    prober.probe(table, probe);
    if (context_.rules.keep_build) keep_build(build, prober.sink());
  }

  // Nothing can match, and nobody asks for the rows that do not.
  [[nodiscard]] bool skips(Range probe, Range build) const {
    const bool no_probe = probe.size() == 0 && !context_.rules.keep_build;
    const bool no_build =
        build.size() == 0 && !context_.rules.keep_probe && !context_.rules.existence;
    return no_probe || no_build;
  }

  // One table, probed by all threads in pieces.
  void match_together(int partition) {
    const Range build = context_.build.placement.partition(partition);
    const Range probe = context_.probe.placement.partition(partition);
    SlotTable<Index> table = make_table(build.size());
    table.build(context_.build, context_.scheme, build, make_prober()->scratch());
    std::atomic<std::int64_t> next{probe.begin};
    const std::int64_t step = config::kRowsPerThread;
    parallel(plan_.threads, [&](int) {
      const auto prober = make_prober();
      for (std::int64_t at = next.fetch_add(step); at < probe.end; at = next.fetch_add(step)) {
        prober->sink().open(partition, at);
        prober->probe(table, {at, std::min(at + step, probe.end)});
      }
      drain(*prober);
    });
    if (!context_.rules.keep_build) return;
    parallel(plan_.threads, [&](int thread) {
      const auto prober = make_prober();
      const Range part = part_of(build.size(), plan_.threads, thread);
      prober->sink().open(partition, probe.end + part.begin);
      keep_build({build.begin + part.begin, build.begin + part.end}, prober->sink());
      drain(*prober);
    });
  }

  // Build rows that no probe row has marked.
  void keep_build(Range positions, PairSink<Index>& sink) const {
    for_blocks(positions, join_config::kBlockRows, [&](Range range) {
      sink.reserve(range.size());
      std::int64_t size = sink.size();
      for (std::int64_t position = range.begin; position < range.end; ++position) {
        sink.probe()[size] = kNoPosition<Index>;
        sink.build()[size] = static_cast<Index>(position);
        size += context_.build_matched[position] == 0 ? 1 : 0;
      }
      sink.set_size(size);
    });
  }

  // Rows that were known to match nothing.
  void keep_outside(int thread) {
    const Range probe = outside_part(context_.probe, thread);
    const Range build = outside_part(context_.build, thread);
    const auto prober = make_prober();
    const int partition = context_.probe.placement.partitions();
    prober->sink().open(partition, probe.begin);
    for (auto at = probe.begin; context_.rules.keep_probe && at < probe.end; ++at) {
      prober->sink().append(static_cast<Index>(at), kNoPosition<Index>);
    }
    prober->sink().open(partition, context_.probe.placement.rows() + build.begin);
    for (auto at = build.begin; context_.rules.keep_build && at < build.end; ++at) {
      prober->sink().append(kNoPosition<Index>, static_cast<Index>(at));
    }
    drain(*prober);
  }

  [[nodiscard]] Range outside_part(const Side<Scheme, Index>& side, int thread) const {
    const Range outside = side.placement.outside();
    const Range part = part_of(outside.size(), plan_.threads, thread);
    return {outside.begin + part.begin, outside.begin + part.end};
  }

  void drain(ProberType& prober) {
    const std::lock_guard lock(mutex_);
    prober.sink().drain(matches_.segments, matches_.chunks);
  }

  // The order of segments depends on the plan, not on which thread was faster.
  void finish() {
    std::stable_sort(matches_.segments.begin(), matches_.segments.end(),
                     [](const auto& a, const auto& b) {
                       return std::tie(a.partition, a.order) < std::tie(b.partition, b.order);
                     });
    for (auto& segment : matches_.segments) {
      segment.begin = matches_.rows;
      matches_.rows += segment.size;
    }
  }

  const ProbeContext<Scheme, Index>& context_;
  const JoinPlan& plan_;
  std::vector<int> large_;
  std::vector<int> small_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  Matches<Index> matches_;
};

OwnedArray<std::uint8_t> zeroed_marks(bool needed, std::int64_t rows) {
  OwnedArray<std::uint8_t> marks(needed ? rows : 0);
  std::fill(marks.begin(), marks.end(), std::uint8_t{0});
  return marks;
}

}  // namespace

template <typename Scheme, typename Index>
Matches<Index> match_sides(const Side<Scheme, Index>& probe, const Side<Scheme, Index>& build,
                           const Scheme& scheme, const Verifier<Index>& verifier,
                           const MatchRules& rules, const JoinPlan& plan) {
  // Marks of rows outside of all partitions stay 0.
  const auto build_matched = zeroed_marks(rules.keep_build, build.placement.rows());
  auto probe_matched = zeroed_marks(rules.existence, probe.placement.rows());
  const ProbeContext<Scheme, Index> context{
      scheme, probe, build, verifier, rules, build_matched.data(), probe_matched.data()};
  return Matcher<Scheme, Index>(context, plan).run(std::move(probe_matched));
}

#define ELEVON_MATCH_SIDES(SCHEME, INDEX)                                                       \
  template Matches<INDEX> match_sides(const Side<SCHEME, INDEX>&, const Side<SCHEME, INDEX>&,   \
                                      const SCHEME&, const Verifier<INDEX>&, const MatchRules&, \
                                      const JoinPlan&)

ELEVON_MATCH_SIDES(RangeScheme<std::uint16_t>, std::uint32_t);
ELEVON_MATCH_SIDES(RangeScheme<std::uint16_t>, std::int64_t);
ELEVON_MATCH_SIDES(RangeScheme<std::uint32_t>, std::uint32_t);
ELEVON_MATCH_SIDES(RangeScheme<std::uint32_t>, std::int64_t);
ELEVON_MATCH_SIDES(HashScheme, std::uint32_t);
ELEVON_MATCH_SIDES(HashScheme, std::int64_t);

}  // namespace elevon::kernel

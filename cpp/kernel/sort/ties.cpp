#include "kernel/sort/ties.hpp"

#include <algorithm>
#include <numeric>

#include "kernel/sort/config.hpp"

namespace elevon::kernel {
namespace {

// values[i] becomes what values[places[i]] was; `old` is scratch.
template <typename T>
void reorder(std::span<T> values, std::span<const std::uint32_t> places, std::vector<T>& old) {
  old.assign(values.begin(), values.end());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = old[places[i]];
}

}  // namespace

void TieSorter::settle(std::span<const Code> words, std::span<std::int64_t> rows,
                       std::span<std::uint32_t> companions) {
  rows_ = rows;
  companions_ = companions;
  for (std::size_t begin = 0, end = 0; begin < words.size(); begin = end) {
    for (end = begin + 1; end < words.size() && words[end] == words[begin];) ++end;
    if (end - begin == 1) continue;
    push(begin, end, order_.after_words(rows.subspan(begin, end - begin)));
    while (!runs_.empty()) {
      const Run run = runs_.back();
      runs_.pop_back();
      settle_run(run);
    }
  }
}

void TieSorter::push(std::size_t begin, std::size_t end, KeyOrder::Step step) {
  if (!order_.ended(step)) runs_.push_back({begin, end, step});
}

// Sorts a run by the codes of its step and queues the runs that are still equal.
void TieSorter::settle_run(Run run) {
  const std::size_t size = run.end - run.begin;
  codes_.resize(size);
  order_.encode_step(rows_.subspan(run.begin, size), run.step, codes_.data());
  if (!std::is_sorted(codes_.begin(), codes_.end())) {
    sort_codes();
    reorder(rows_.subspan(run.begin, size), places_, old_rows_);
    reorder(companions_.subspan(run.begin, size), places_, old_companions_);
  }
  for (std::size_t begin = 0, end = 0; begin < size; begin = end) {
    for (end = begin + 1; end < size && codes_[end] == codes_[begin];) ++end;
    if (end - begin == 1) continue;
    const auto tied = rows_.subspan(run.begin + begin, end - begin);
    push(run.begin + begin, run.begin + end, order_.next(tied, run.step));
  }
}

void TieSorter::sort_codes() {
  places_.resize(codes_.size());
  old_codes_ = codes_;
  if (codes_.size() > sort_config::kRadixRun) return sort_codes_by_radix();
  std::iota(places_.begin(), places_.end(), 0U);
  std::sort(places_.begin(), places_.end(), [&](std::uint32_t left, std::uint32_t right) {
    if (old_codes_[left] != old_codes_[right]) return old_codes_[left] < old_codes_[right];
    return left < right;
  });
  for (std::size_t i = 0; i < codes_.size(); ++i) codes_[i] = old_codes_[places_[i]];
}

void TieSorter::sort_codes_by_radix() {
  if (!sorter_) sorter_ = std::make_unique<LocalSorter>();
  sorter_->sort(std::span<const Code>(old_codes_), 0, 64);
  sorter_->read(0, static_cast<std::int64_t>(codes_.size()), places_.data(), codes_.data());
}

}  // namespace elevon::kernel

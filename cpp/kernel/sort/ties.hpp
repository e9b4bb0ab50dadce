// Settles what words leave open: runs of rows with equal words, by the rest of their keys.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernel/keys/normalize.hpp"
#include "kernel/sort/local.hpp"

namespace elevon::kernel {

// One per thread. Works run by run with a list of runs to do, never by recursion: keys may be
// equal for thousands of bytes.
class TieSorter {
 public:
  explicit TieSorter(const KeyOrder& order) : order_(order) {}

  // `rows` are sorted by their words; reorders those with equal words by what follows, and keeps
  // the order of equal rows. `companions` (local indices) move along.
  void settle(std::span<const Code> words, std::span<std::int64_t> rows,
              std::span<std::uint32_t> companions);

 private:
  struct Run {
    std::size_t begin;
    std::size_t end;
    KeyOrder::Step step;
  };
  void push(std::size_t begin, std::size_t end, KeyOrder::Step step);
  void settle_run(Run run);
  void sort_codes();
  void sort_codes_by_radix();

  const KeyOrder& order_;
  std::span<std::int64_t> rows_;
  std::span<std::uint32_t> companions_;
  std::vector<Run> runs_;
  // Of the run at work: its codes and, once sorted, the place in the run that each one had.
  std::vector<Code> codes_;
  std::vector<std::uint32_t> places_;
  std::vector<Code> old_codes_;
  std::vector<std::int64_t> old_rows_;
  std::vector<std::uint32_t> old_companions_;
  std::unique_ptr<LocalSorter> sorter_;  // made for the first long run
};

}  // namespace elevon::kernel

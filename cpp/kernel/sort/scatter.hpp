// Moves values to their buckets, keeping their order: one sequential read, one write per value.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernel/sort/buckets.hpp"
#include "kernel/sort/config.hpp"
#include "kernel/sort/stream.hpp"

namespace elevon::kernel {

// One thread's part of a scatter. Values are given in stretches, in the order of rows.
template <typename T>
class Scatter {
 public:
  Scatter(const Buckets& buckets, int thread, T* out)
      : out_(out),
        of_row_(buckets.of_row.data() + buckets.part(thread).begin),
        cursors_(buckets.cursors_of(thread).begin(), buckets.cursors_of(thread).end()) {
    if (buckets.count() <= buckets.tuning.direct_buckets || sizeof(T) > 8) return;
    firsts_ = cursors_;
    lines_ = OwnedArray<Line>(buckets.count());
  }

  // The next `count` rows; value(i) is the value of the i-th of them.
  template <typename F>
  void add(std::int64_t count, F&& value) {
    if (lines_.size() == 0) {
      add_directly(count, value);
    } else {
      add_combined(count, value);
    }
    of_row_ += count;
  }

  // Writes what still waits in lines. To be called once, after the last row.
  void finish() {
    for (std::int64_t bucket = 0; bucket < lines_.size(); ++bucket) {
      const std::int64_t end = cursors_[static_cast<std::size_t>(bucket)];
      write_part(bucket, end & ~(kPerLine - 1), end);
    }
    finish_streams();
  }

 private:
  static constexpr auto kPerLine = static_cast<std::int64_t>(config::kCacheLine / sizeof(T));
  struct alignas(config::kCacheLine) Line {
    T values[static_cast<std::size_t>(kPerLine)];
  };

  template <typename F>
  void add_directly(std::int64_t count, F&& value) {
    const std::uint16_t* of_row = of_row_;
    std::int64_t* cursors = cursors_.data();
    T* out = out_;
    for (std::int64_t i = 0; i < count; ++i) out[cursors[of_row[i]]++] = value(i);
  }

  // A value waits in its bucket's line until the line of the output that it stands for is full.
  template <typename F>
  void add_combined(std::int64_t count, F&& value) {
    const std::uint16_t* of_row = of_row_;
    std::int64_t* cursors = cursors_.data();
    Line* lines = lines_.data();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::size_t bucket = of_row[i];
      const std::int64_t at = cursors[bucket]++;
      lines[bucket].values[at & (kPerLine - 1)] = value(i);
      if ((at & (kPerLine - 1)) != kPerLine - 1) continue;
      const std::int64_t begin = at + 1 - kPerLine;
      if (begin >= firsts_[bucket]) {
        stream_line(out_ + begin, lines[bucket].values);
      } else {
        write_part(static_cast<std::int64_t>(bucket), begin, at + 1);
      }
    }
  }

  // What this thread holds of a line that others write to as well.
  void write_part(std::int64_t bucket, std::int64_t begin, std::int64_t end) {
    begin = std::max(begin, firsts_[static_cast<std::size_t>(bucket)]);
    for (std::int64_t at = begin; at < end; ++at) {
      out_[at] = lines_[bucket].values[at & (kPerLine - 1)];
    }
  }

  T* out_;
  const std::uint16_t* of_row_;
  std::vector<std::int64_t> cursors_;
  std::vector<std::int64_t> firsts_;
  OwnedArray<Line> lines_;
};

}  // namespace elevon::kernel

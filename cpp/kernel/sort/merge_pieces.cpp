#include "kernel/sort/merge_pieces.hpp"

#include <algorithm>

namespace elevon::kernel {
namespace {

// A row with its word, to be compared often.
struct Marked {
  Code word;
  std::int64_t row;
};

Marked mark(const KeyOrder& order, std::int64_t row) {
  Marked marked{0, row};
  order.encode({row, row + 1}, &marked.word);
  return marked;
}

int compare(const KeyOrder& order, const Marked& left, const Marked& right) {
  if (left.word != right.word) return left.word < right.word ? -1 : 1;
  return order.exact() ? 0 : order.compare_open(left.row, right.row);
}

// A border between pieces: before the rows that equal `at`, or behind them.
struct Border {
  Marked at;
  bool behind;
};

// Rows at equal steps in every run, sorted. Between two neighbours of one run lie `step` rows, so
// a piece is off its size by half at most.
std::vector<Marked> sample_runs(const KeyOrder& order, std::span<const std::int64_t> bounds,
                                std::int64_t piece_rows) {
  const auto runs = static_cast<std::int64_t>(bounds.size()) - 1;
  const std::int64_t step = std::max<std::int64_t>(piece_rows / (2 * runs), 1);
  std::vector<Marked> sample;
  for (std::size_t run = 0; run + 1 < bounds.size(); ++run) {
    for (std::int64_t row = bounds[run] + step; row < bounds[run + 1]; row += step) {
      sample.push_back(mark(order, row));
    }
  }
  std::stable_sort(sample.begin(), sample.end(), [&](const Marked& left, const Marked& right) {
    return compare(order, left, right) < 0;
  });
  return sample;
}

// Quantiles of the sample. A key that is two of them is frequent: its rows get pieces of their own.
std::vector<Border> choose_borders(const KeyOrder& order, std::span<const Marked> sample,
                                   std::int64_t pieces) {
  std::vector<Border> borders;
  const auto count = static_cast<std::size_t>(pieces);
  for (std::size_t i = 1; i < count && !sample.empty(); ++i) {
    const Marked& next = sample[sample.size() * i / count];
    if (borders.empty() || compare(order, borders.back().at, next) < 0) {
      borders.push_back({next, false});
    } else if (!borders.back().behind) {
      borders.push_back({next, true});
    }
  }
  return borders;
}

// Where each border falls in one run.
std::vector<std::int64_t> cut_run(const KeyOrder& order, std::span<const Border> borders,
                                  Range run) {
  std::vector<std::int64_t> cuts{run.begin};
  for (const Border& border : borders) {
    Range open{cuts.back(), run.end};
    while (open.size() > 0) {
      const std::int64_t middle = open.begin + open.size() / 2;
      const int sign = compare(order, mark(order, middle), border.at);
      const bool before = sign < 0 || (sign == 0 && border.behind);
      (before ? open.begin : open.end) = before ? middle + 1 : middle;
    }
    cuts.push_back(open.begin);
  }
  cuts.push_back(run.end);
  return cuts;
}

class PieceBuilder {
 public:
  PieceBuilder(Pieces& pieces, std::int64_t piece_rows) : pieces_(pieces), limit_(piece_rows) {}

  // Segments that merge into one piece; `in_order` if they need not.
  void add(std::span<const Range> segments, bool in_order) {
    if (segments.empty()) return;
    if (in_order || segments.size() == 1) return add_in_order(segments);
    begin(false);
    for (const Range& segment : segments) append(segment);
  }
  void finish() {
    pieces_.first_segment.push_back(pieces_.segments.size());
    pieces_.starts.push_back(pieces_.rows);
  }

 private:
  // Rows in order may be cut anywhere, so that several threads share a long stretch of them.
  void add_in_order(std::span<const Range> segments) {
    for (const Range& segment : segments) {
      for (std::int64_t row = segment.begin; row < segment.end; row += limit_) {
        begin(true);
        append({row, std::min(row + limit_, segment.end)});
      }
    }
  }
  void begin(bool in_order) {
    pieces_.first_segment.push_back(pieces_.segments.size());
    pieces_.starts.push_back(pieces_.rows);
    pieces_.in_order.push_back(in_order ? 1 : 0);
  }
  void append(Range segment) {
    pieces_.segments.push_back(segment);
    pieces_.rows += segment.size();
  }

  Pieces& pieces_;
  std::int64_t limit_;
};

}  // namespace

std::int64_t Pieces::largest() const {
  std::int64_t largest = 0;
  for (int index = 0; index < count(); ++index) largest = std::max(largest, bucket(index).size());
  return largest;
}

Pieces cut_runs(const KeyOrder& order, std::span<const std::int64_t> bounds, int threads,
                const SortTuning& tuning) {
  const std::int64_t wanted = (order.rows() + tuning.bucket_rows - 1) / tuning.bucket_rows;
  const auto sample = sample_runs(order, bounds, tuning.bucket_rows);
  const auto borders = choose_borders(order, sample, wanted);
  const auto runs = static_cast<int>(bounds.size()) - 1;
  std::vector<std::vector<std::int64_t>> cuts(static_cast<std::size_t>(runs));
  parallel(threads, [&](int thread) {
    for (int run = thread; run < runs; run += threads) {
      const auto at = static_cast<std::size_t>(run);
      cuts[at] = cut_run(order, borders, {bounds[at], bounds[at + 1]});
    }
  });
  Pieces pieces{.threads = threads,
                .rows = 0,
                .segments = {},
                .first_segment = {},
                .starts = {},
                .in_order = {}};
  PieceBuilder builder(pieces, tuning.bucket_rows);
  for (std::size_t piece = 0; piece <= borders.size(); ++piece) {
    std::vector<Range> segments;
    for (const auto& cut : cuts) {
      if (cut[piece] < cut[piece + 1]) segments.push_back({cut[piece], cut[piece + 1]});
    }
    builder.add(segments, piece > 0 && piece < borders.size() && borders[piece].behind);
  }
  builder.finish();
  return pieces;
}

}  // namespace elevon::kernel

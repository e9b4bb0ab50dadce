#include "kernel/sort/merge_order.hpp"

#include <memory>
#include <numeric>
#include <vector>

#include "kernel/sort/local.hpp"
#include "kernel/sort/order.hpp"

namespace elevon::kernel {
namespace {

// What one thread needs to merge piece after piece.
class Merger {
 public:
  Merger(const KeyOrder& order, const Pieces& pieces, std::span<const DecodedColumn> decoded,
         RowOrder& result)
      : order_(order), pieces_(pieces), writer_(order, decoded, result) {}

  // Rows of a piece are numbered segment after segment, so a stable sort keeps the order of runs.
  void merge(int piece) {
    const Range rows = pieces_.bucket(piece);
    read_words(piece);
    if (pieces_.in_order[static_cast<std::size_t>(piece)] != 0) {
      return writer_.write_in_order(piece, rows, words_);
    }
    if (!order_.exact()) read_numbers(piece);
    sorter_.sort(words_, 0, order_.bits());
    writer_.write(piece, rows, sorter_, numbers_.data());
  }

 private:
  void read_words(int piece) {
    words_.resize(static_cast<std::size_t>(pieces_.bucket(piece).size()));
    Code* next = words_.data();
    for (const Range& segment : pieces_.segments_of(piece)) {
      order_.encode(segment, next);
      next += segment.size();
    }
  }
  void read_numbers(int piece) {
    numbers_.resize(words_.size());
    auto next = numbers_.begin();
    for (const Range& segment : pieces_.segments_of(piece)) {
      std::iota(next, next + segment.size(), segment.begin);
      next += segment.size();
    }
  }

  const KeyOrder& order_;
  const Pieces& pieces_;
  LocalSorter sorter_;
  OrderWriter writer_;
  std::vector<Code> words_;
  std::vector<std::int64_t> numbers_;
};

}  // namespace

RowOrder merge_pieces(const KeyOrder& order, const Pieces& pieces,
                      std::span<const DecodedColumn> decoded) {
  RowOrder result(pieces.rows, pieces.count(), pieces.largest());
  std::vector<std::unique_ptr<Merger>> mergers(static_cast<std::size_t>(pieces.threads));
  for_each_dealt(pieces.count(), pieces.threads, [&](int thread, int piece) {
    auto& merger = mergers[static_cast<std::size_t>(thread)];
    if (!merger) merger = std::make_unique<Merger>(order, pieces, decoded, result);
    merger->merge(piece);
  });
  return result;
}

}  // namespace elevon::kernel

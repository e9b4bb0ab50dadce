// The ways by which values reach their places in the result: through buckets (sort) or from the
// segments of a piece (merge).
//
// feed(sink, rows) hands the values of consecutive rows to sink.add(count, value), where value(i)
// is the i-th of them: one function per column serves both ways.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernel/sort/buckets.hpp"
#include "kernel/sort/gather.hpp"
#include "kernel/sort/merge_pieces.hpp"
#include "kernel/sort/order.hpp"
#include "kernel/sort/scatter.hpp"

namespace elevon::kernel {

// Takes values one after another.
template <typename T>
class Appender {
 public:
  explicit Appender(T* next) : next_(next) {}
  template <typename F>
  void add(std::int64_t count, F&& value) {
    for (std::int64_t i = 0; i < count; ++i) next_[i] = value(i);
    next_ += count;
  }

 private:
  T* next_;
};

// Values in order of buckets, in each bucket in the order of the table.
template <typename T, typename Feed>
OwnedArray<T> scatter_values(const Buckets& buckets, Feed&& feed) {
  OwnedArray<T> staged(buckets.rows);
  parallel(buckets.threads, [&](int thread) {
    Scatter<T> scatter(buckets, thread, staged.data());
    feed(scatter, buckets.part(thread));
    scatter.finish();
  });
  return staged;
}

template <typename T>
bool should_stream(std::int64_t rows) {
  return rows * static_cast<std::int64_t>(sizeof(T)) >= sort_config::kStreamBytes;
}

// The column of all values in sorted order.
template <typename T, typename Feed>
OwnedArray<T> move_values(const Buckets& buckets, const RowOrder& order, Feed&& feed) {
  const OwnedArray<T> staged = scatter_values<T>(buckets, feed);
  OwnedArray<T> out(buckets.rows);
  for_each_dealt(buckets.count(), buckets.threads, [&](int, int bucket) {
    const Range rows = buckets.bucket(bucket);
    const T* from = staged.data() + rows.begin;
    T* to = out.data() + rows.begin;
    if (order.in_order[static_cast<std::size_t>(bucket)] != 0) {
      std::copy_n(from, rows.size(), to);
      return;
    }
    order.visit(rows.begin, [&](const auto* index) {
      gather_local(from, index, rows.size(), to, from + rows.size(), should_stream<T>(out.size()));
    });
    finish_streams();
  });
  return out;
}

template <typename T, typename Feed>
void feed_piece(const Pieces& pieces, int piece, Feed&& feed, T* to) {
  Appender<T> appender(to);
  for (const Range& segment : pieces.segments_of(piece)) feed(appender, segment);
}

// A piece is read into the cache and written from there.
template <typename T, typename Feed>
OwnedArray<T> move_values(const Pieces& pieces, const RowOrder& order, Feed&& feed) {
  OwnedArray<T> out(pieces.rows);
  std::vector<std::vector<T>> staged(static_cast<std::size_t>(pieces.threads));
  for_each_dealt(pieces.count(), pieces.threads, [&](int thread, int piece) {
    const Range rows = pieces.bucket(piece);
    T* to = out.data() + rows.begin;
    if (order.in_order[static_cast<std::size_t>(piece)] != 0) {
      return feed_piece(pieces, piece, feed, to);
    }
    auto& mine = staged[static_cast<std::size_t>(thread)];
    if (mine.size() < static_cast<std::size_t>(rows.size())) {
      mine.resize(static_cast<std::size_t>(rows.size()));
    }
    feed_piece(pieces, piece, feed, mine.data());
    order.visit(rows.begin, [&](const auto* index) {
      gather_local(mine.data(), index, rows.size(), to, mine.data(), should_stream<T>(out.size()));
    });
    finish_streams();
  });
  return out;
}

}  // namespace elevon::kernel

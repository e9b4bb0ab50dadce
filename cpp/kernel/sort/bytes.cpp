#include "kernel/sort/bytes.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "kernel/base/small_copy.hpp"
#include "kernel/keys/normalize_key.hpp"
#include "kernel/sort/route.hpp"

namespace elevon::kernel {
namespace {

std::size_t at(std::int64_t index) {
  return static_cast<std::size_t>(index);
}

template <typename Offset>
std::int64_t bytes_of(const arrow::Array& array, Range rows) {
  const Offset* offsets = array.values<Offset>();
  return offsets[rows.end] - offsets[rows.begin];
}

template <typename Offset>
std::int64_t bytes_of(const arrow::Column& column, Range rows) {
  std::int64_t bytes = 0;
  for_chunks(column, rows, [&](const arrow::Array& array, Range in, std::int64_t) {
    bytes += bytes_of<Offset>(array, in);
  });
  return bytes;
}

// Values of one bucket or piece, one after another: value i is bytes[offsets[i] .. offsets[i + 1]).
// Room for a wide read follows the bytes.
template <typename Offset>
struct Staged {
  const std::byte* bytes;
  const Offset* offsets;
  std::int64_t rows;

  [[nodiscard]] std::int64_t size() const { return offsets[rows] - offsets[0]; }
};

// Where a bucket's values go: its own part of the result, of which byte 0 is number `begin`.
template <typename Offset>
struct Target {
  Offset* offsets;
  std::byte* bytes;
  std::int64_t begin;
};

template <typename Offset>
void copy_in_order(const Staged<Offset>& from, const Target<Offset>& to) {
  if (from.size() > 0) std::memcpy(to.bytes, from.bytes + from.offsets[0], at(from.size()));
  const std::int64_t shift = to.begin - from.offsets[0];
  for (std::int64_t row = 0; row < from.rows; ++row) {
    to.offsets[row] = static_cast<Offset>(from.offsets[row] + shift);
  }
}

// A wide copy spills over to the place of the next value, which is written next; but behind the
// last ones another bucket begins.
template <typename Offset, typename Index>
void copy_by_index(const Staged<Offset>& from, const Index* index, const Target<Offset>& to) {
  std::byte* out = to.bytes;
  const std::byte* end = to.bytes + from.size();
  for (std::int64_t row = 0; row < from.rows; ++row) {
    const Offset begin = from.offsets[index[row]];
    const std::int64_t size = from.offsets[index[row] + 1] - begin;
    to.offsets[row] = static_cast<Offset>(to.begin + (out - to.bytes));
    if (size <= kWideCopy && end - out >= kWideCopy) {
      std::memcpy(out, from.bytes + begin, kWideCopy);
    } else {
      small_copy(out, reinterpret_cast<const char*>(from.bytes) + begin, size);
    }
    out += size;
  }
}

// Lines that are about to be read in no order, fetched in order.
template <typename Offset>
void fetch(const Staged<Offset>& staged) {
  const std::byte* bytes = staged.bytes + staged.offsets[0];
  for (std::int64_t line = 0; line < staged.size(); line += config::kCacheLine) {
    __builtin_prefetch(bytes + line);
  }
}

template <typename Offset>
void write_bucket(const Staged<Offset>& from, const RowOrder& order, int bucket,
                  std::int64_t position, const Target<Offset>& to) {
  if (order.in_order[at(bucket)] != 0) return copy_in_order(from, to);
  fetch(from);
  order.visit(position, [&](const auto* index) { copy_by_index(from, index, to); });
}

// Where a thread's next value of a bucket goes.
struct Cursor {
  std::int64_t row;
  std::int64_t byte;
};

// All values in order of buckets, in each bucket in the order of the table.
template <typename Offset>
class ScatteredBytes {
 public:
  ScatteredBytes(const arrow::Column& column, const Buckets& buckets)
      : column_(column),
        buckets_(buckets),
        bytes_(bytes_of<Offset>(column, {0, buckets.rows})),
        offsets_(buckets.rows + 1),
        cursors_(at(buckets.threads)) {
    parallel(buckets.threads, [&](int thread) { count(thread); });
    place();
    parallel(buckets.threads, [&](int thread) { scatter(thread); });
  }

  [[nodiscard]] Staged<Offset> bucket(int index) const {
    const Range rows = buckets_.bucket(index);
    return {bytes_.data(), offsets_.data() + rows.begin, rows.size()};
  }

 private:
  // Calls f(array, rows within it, the rows' buckets) for the chunks of a thread's part.
  template <typename F>
  void for_part(int thread, F&& f) const {
    const Range rows = buckets_.part(thread);
    for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t position) {
      f(array, in, buckets_.of_row.data() + rows.begin + position);
    });
  }

  // A thread's cursors become the numbers of its bytes.
  void count(int thread) {
    std::vector<Cursor>& cursors = cursors_[at(thread)];
    for (const std::int64_t row : buckets_.cursors_of(thread)) cursors.push_back({row, 0});
    for_part(thread, [&](const arrow::Array& array, Range in, const std::uint16_t* of_row) {
      const arrow::OffsetReader<Offset> reader(array);
      for (std::int64_t i = 0; i < in.size(); ++i) {
        cursors[of_row[i]].byte += reader.size(in.begin + i);
      }
    });
  }

  void place() {
    std::int64_t next = 0;
    for (std::size_t bucket = 0; bucket < at(buckets_.count()); ++bucket) {
      for (auto& cursors : cursors_) next += std::exchange(cursors[bucket].byte, next);
    }
    offsets_[buckets_.rows] = static_cast<Offset>(next);
  }

  void scatter(int thread) {
    Cursor* cursors = cursors_[at(thread)].data();
    std::byte* bytes = bytes_.data();
    Offset* offsets = offsets_.data();
    for_part(thread, [&](const arrow::Array& array, Range in, const std::uint16_t* of_row) {
      const arrow::OffsetReader<Offset> reader(array);
      for (std::int64_t i = 0; i < in.size(); ++i) {
        const std::string_view value = reader(in.begin + i);
        Cursor& cursor = cursors[of_row[i]];
        offsets[cursor.row++] = static_cast<Offset>(cursor.byte);
        small_copy(bytes + cursor.byte, value.data(), static_cast<std::int64_t>(value.size()));
        cursor.byte += static_cast<std::int64_t>(value.size());
      }
    });
  }

  const arrow::Column& column_;
  const Buckets& buckets_;
  Buffer bytes_;
  OwnedArray<Offset> offsets_;
  std::vector<std::vector<Cursor>> cursors_;  // of each thread
};

template <typename Offset>
void write_all(const arrow::Column& column, const Buckets& buckets, const RowOrder& order,
               const Target<Offset>& to) {
  const ScatteredBytes<Offset> scattered(column, buckets);
  for_each_dealt(buckets.count(), buckets.threads, [&](int, int bucket) {
    const Staged<Offset> staged = scattered.bucket(bucket);
    const std::int64_t position = buckets.bucket(bucket).begin;
    // Buckets have the same places in both.
    write_bucket<Offset>(staged, order, bucket, position,
                         {to.offsets + position, to.bytes + staged.offsets[0], staged.offsets[0]});
  });
}

// One thread's place for the values of a piece.
template <typename Offset>
class PieceBytes {
 public:
  Staged<Offset> read(const arrow::Column& column, std::span<const Range> segments) {
    offsets_.assign(1, 0);
    bytes_.clear();
    for (const Range& segment : segments) {
      for_chunks(column, segment,
                 [&](const arrow::Array& array, Range in, std::int64_t) { append(array, in); });
    }
    bytes_.resize(bytes_.size() + at(kWideCopy));
    return {bytes_.data(), offsets_.data(), static_cast<std::int64_t>(offsets_.size()) - 1};
  }

 private:
  void append(const arrow::Array& array, Range rows) {
    const Offset* from = array.values<Offset>() + rows.begin;
    const std::byte* bytes = array.buffers[1];
    const auto shift = static_cast<Offset>(offsets_.back() - from[0]);
    if (from[rows.size()] > from[0]) {
      bytes_.insert(bytes_.end(), bytes + from[0], bytes + from[rows.size()]);
    }
    for (std::int64_t row = 1; row <= rows.size(); ++row) {
      offsets_.push_back(static_cast<Offset>(from[row] + shift));
    }
  }

  std::vector<Offset> offsets_;
  std::vector<std::byte> bytes_;
};

template <typename Offset>
std::vector<std::int64_t> cut_bytes(const arrow::Column& column, const Pieces& pieces) {
  std::vector<std::int64_t> cuts{0};
  for (int piece = 0; piece < pieces.count(); ++piece) {
    std::int64_t bytes = cuts.back();
    for (const Range& segment : pieces.segments_of(piece)) {
      bytes += bytes_of<Offset>(column, segment);
    }
    cuts.push_back(bytes);
  }
  return cuts;
}

template <typename Offset>
void write_all(const arrow::Column& column, const Pieces& pieces, const RowOrder& order,
               const Target<Offset>& to) {
  const std::vector<std::int64_t> cuts = cut_bytes<Offset>(column, pieces);
  std::vector<PieceBytes<Offset>> staged(at(pieces.threads));
  for_each_dealt(pieces.count(), pieces.threads, [&](int thread, int piece) {
    const std::int64_t position = pieces.bucket(piece).begin;
    const std::int64_t cut = cuts[at(piece)];
    write_bucket<Offset>(staged[at(thread)].read(column, pieces.segments_of(piece)), order, piece,
                         position, {to.offsets + position, to.bytes + cut, cut});
  });
}

template <typename Offset, typename Route>
std::optional<std::vector<arrow::Memory>> move_offsets(const arrow::Column& column,
                                                       const Route& route, const RowOrder& order) {
  const std::int64_t total = bytes_of<Offset>(column, {0, route.rows});
  if (total > std::numeric_limits<Offset>::max()) return std::nullopt;
  OwnedArray<Offset> offsets(route.rows + 1);
  Buffer bytes(total);
  write_all<Offset>(column, route, order, {offsets.data(), bytes.data(), 0});
  offsets[route.rows] = static_cast<Offset>(total);
  return std::vector<arrow::Memory>{share(std::move(offsets)), share(std::move(bytes))};
}

}  // namespace

template <typename Route>
std::optional<std::vector<arrow::Memory>> move_bytes(const arrow::Column& column,
                                                     const Route& route, const RowOrder& order) {
  if (column.type().layout == arrow::Layout::Offsets32) {
    return move_offsets<std::int32_t>(column, route, order);
  }
  return move_offsets<std::int64_t>(column, route, order);
}

template std::optional<std::vector<arrow::Memory>> move_bytes(const arrow::Column&, const Buckets&,
                                                              const RowOrder&);
template std::optional<std::vector<arrow::Memory>> move_bytes(const arrow::Column&, const Pieces&,
                                                              const RowOrder&);

}  // namespace elevon::kernel

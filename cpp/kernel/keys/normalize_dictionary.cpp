// Codes of dictionary keys: the rank of the value that an index stands for.

#include <array>
#include <bit>

#include "kernel/keys/normalize.hpp"

namespace elevon::kernel {
namespace {

// The dictionary as a column of its own.
arrow::Column values_of(const arrow::Column& column) {
  arrow::Field field{.name = column.field().name,
                     .type = column.type().dictionary,
                     .nullable = true,
                     .metadata = {}};
  return {std::move(field), {column.dictionary()}};
}

// Ranks in the key's own direction: of the values, where equal entries share one, or of the
// entries' places where the dictionary says that it is in order. A null in the dictionary is a
// null.
class Ranks {
 public:
  Ranks(const SortKey& key, int threads, RowSorter sorter) {
    const arrow::Column values = values_of(*key.column);
    if (values.length() == 0) return;
    if (is_ordered(key.column->type()) && values.null_count() == 0) {
      rank_by_place(static_cast<std::size_t>(values.length()), key);
      return;
    }
    const std::array<SortKey, 1> keys{SortKey{&values, key.ascending, key.nulls_first}};
    const KeyOrder order(keys, threads, sorter);
    const OwnedArray<std::int64_t> rows = sorter(order, threads);
    of_entry_.resize(static_cast<std::size_t>(rows.size()));
    for (std::int64_t i = 0; i < rows.size(); ++i) {
      if (i > 0 && order.compare(rows[i - 1], rows[i]) != 0) ++last_;
      of_entry_[static_cast<std::size_t>(rows[i])] = last_;
    }
    place_null(values, key.nulls_first);
  }

  [[nodiscard]] Code of_entry(std::size_t entry) const { return of_entry_[entry]; }
  [[nodiscard]] Code of_null() const { return null_; }
  [[nodiscard]] int bits() const { return static_cast<int>(std::bit_width(last_)); }

 private:
  void rank_by_place(std::size_t entries, const SortKey& key) {
    const Code base = key.nulls_first ? 1 : 0;
    of_entry_.resize(entries);
    for (std::size_t entry = 0; entry < entries; ++entry) {
      of_entry_[entry] = base + (key.ascending ? entry : entries - 1 - entry);
    }
    last_ = entries;
    null_ = key.nulls_first ? 0 : last_;
  }

  // Null entries rank first or last already, so they can share the rank of null rows; without any,
  // that rank is added.
  void place_null(const arrow::Column& values, bool first) {
    if (values.null_count() == 0) {
      if (first) {
        for (Code& rank : of_entry_) ++rank;
      }
      ++last_;
    }
    null_ = first ? 0 : last_;
  }

  std::vector<Code> of_entry_;
  Code last_ = 0;
  Code null_ = 0;
};

template <typename Index>
class DictionaryCoder final : public KeyCoder {
 public:
  DictionaryCoder(const SortKey& key, int threads, RowSorter sorter)
      : column_(*key.column), ranks_(key, threads, sorter) {
    bits_ = ranks_.bits();
  }

  void encode(Range rows, Code* out) const override {
    for_chunks(column_, rows, [&](const arrow::Array& array, Range in, std::int64_t at) {
      for (std::int64_t row = in.begin; row < in.end; ++row) {
        out[at + row - in.begin] = code(array, row);
      }
    });
  }

  void encode_rows(std::span<const std::int64_t> rows, std::int64_t /*depth*/,
                   Code* out) const override {
    ChunkFinder finder(column_);
    for (const std::int64_t row : rows) {
      const auto found = finder.find(row);
      *out++ = code(*column_.chunks()[found.chunk], found.row);
    }
  }

 private:
  // The index of a null row may point anywhere.
  [[nodiscard]] Code code(const arrow::Array& array, std::int64_t row) const {
    if (!array.is_valid(row)) return ranks_.of_null();
    return ranks_.of_entry(static_cast<std::size_t>(array.values<Index>()[row]));
  }

  const arrow::Column& column_;
  Ranks ranks_;
};

template <typename Index>
std::unique_ptr<KeyCoder> make(const SortKey& key, int threads, RowSorter sorter) {
  return std::make_unique<DictionaryCoder<Index>>(key, threads, sorter);
}

}  // namespace

// Indices are never negative, so their sign does not matter.
std::unique_ptr<KeyCoder> make_dictionary_coder(const SortKey& key, int threads, RowSorter sorter) {
  switch (key.column->type().width) {
    case 1: return make<std::uint8_t>(key, threads, sorter);
    case 2: return make<std::uint16_t>(key, threads, sorter);
    case 4: return make<std::uint32_t>(key, threads, sorter);
    default: return make<std::uint64_t>(key, threads, sorter);
  }
}

}  // namespace elevon::kernel

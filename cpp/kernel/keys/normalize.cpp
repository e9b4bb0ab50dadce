#include "kernel/keys/normalize.hpp"

#include <array>
#include <stdexcept>

namespace elevon::kernel {
namespace {

constexpr std::int64_t kBlock = 1024;  // rows: codes of a further key stay in L1

void shift_words(Code* words, std::int64_t count, int dropped, int shift) {
  if (dropped == 0 && shift == 0) return;
  for (std::int64_t i = 0; i < count; ++i) words[i] = words[i] >> dropped << shift;
}

}  // namespace

void append_coders(const SortKey& key, int threads, RowSorter sorter, KeyCoders& coders) {
  const arrow::Type& type = key.column->type();
  if (type.layout == arrow::Layout::Null) return;
  if (type.layout == arrow::Layout::Dictionary) {
    coders.push_back(make_dictionary_coder(key, threads, sorter));
    return;
  }
  const bool fixed = type.layout == arrow::Layout::Bits || type.layout == arrow::Layout::Fixed;
  if (!(fixed || type.is_binary()) || type.kind == arrow::Kind::Interval) {
    throw std::invalid_argument("column '" + key.column->field().name + "' of type " +
                                describe(type) + " has no order: it cannot be a sort key");
  }
  if (key.column->null_count() > 0) coders.push_back(make_null_coder(key));
  if (type.is_binary() || type.kind == arrow::Kind::FixedBinary) {
    coders.push_back(make_bytes_coder(key, threads));
  } else {
    append_fixed_coders(key, threads, coders);
  }
}

KeyOrder::KeyOrder(std::span<const SortKey> keys, int threads, RowSorter sorter)
    : keys_(keys.begin(), keys.end()) {
  if (keys.empty()) throw std::invalid_argument("a sort needs at least one key column");
  rows_ = keys[0].column->length();
  const int useful = useful_threads(rows_, threads);
  for (const SortKey& key : keys) {
    first_coder_.push_back(coders_.size());
    append_coders(key, useful, sorter, coders_);
  }
  first_coder_.push_back(coders_.size());
  place_coders();
}

// Side by side from the highest bit down. The word ends with the first coder that it cannot hold
// whole or that does not decide alone: what follows must not be compared before that is settled.
void KeyOrder::place_coders() {
  while (open_.key < coders_.size()) {
    const KeyCoder& coder = *coders_[open_.key];
    const int taken = std::min(coder.bits(), 64 - bits_);
    const int dropped = coder.bits() - taken;
    for (Placed& place : placed_) place.shift += taken;
    if (taken > 0) placed_.push_back({&coder, 0, dropped});
    bits_ += taken;
    open_begun_ = dropped == 0;
    if (dropped > 0 || !coder.exact()) return;
    ++open_.key;
  }
}

void KeyOrder::encode(Range rows, Code* out) const {
  if (placed_.empty()) return static_cast<void>(std::fill_n(out, rows.size(), 0));
  std::array<Code, kBlock> codes;
  for (std::int64_t begin = rows.begin; begin < rows.end; begin += kBlock) {
    const Range block{begin, std::min(begin + kBlock, rows.end)};
    Code* words = out + (begin - rows.begin);
    placed_[0].coder->encode(block, words);
    shift_words(words, block.size(), placed_[0].dropped, placed_[0].shift);
    for (const Placed& place : std::span(placed_).subspan(1)) {
      place.coder->encode(block, codes.data());
      for (std::int64_t i = 0; i < block.size(); ++i) {
        words[i] |= codes[static_cast<std::size_t>(i)] >> place.dropped << place.shift;
      }
    }
  }
}

KeyOrder::Step KeyOrder::after_words(std::span<const std::int64_t> rows) const {
  return open_begun_ ? next(rows, open_) : open_;
}

KeyOrder::Step KeyOrder::next(std::span<const std::int64_t> rows, Step step) const {
  const std::int64_t depth = coders_[step.key]->next_depth(rows, step.depth);
  return depth == KeyCoder::kEqual ? Step{step.key + 1, 0} : Step{step.key, depth};
}

int KeyOrder::compare(std::int64_t left, std::int64_t right) const {
  Code words[2];
  encode({left, left + 1}, &words[0]);
  encode({right, right + 1}, &words[1]);
  if (words[0] != words[1]) return words[0] < words[1] ? -1 : 1;
  return exact() ? 0 : compare_open(left, right);
}

int KeyOrder::compare_open(std::int64_t left, std::int64_t right) const {
  const std::array<std::int64_t, 2> rows{left, right};
  Code codes[2];
  for (Step step = after_words(rows); !ended(step); step = next(rows, step)) {
    encode_step(rows, step, codes);
    if (codes[0] != codes[1]) return codes[0] < codes[1] ? -1 : 1;
  }
  return 0;
}

KeyOrder::Field KeyOrder::field_of(const arrow::Column& column) const {
  for (std::size_t key = 0; key < keys_.size(); ++key) {
    if (keys_[key].column != &column || first_coder_[key + 1] - first_coder_[key] != 1) continue;
    const KeyCoder& coder = *coders_[first_coder_[key]];
    if (!coder.decodable()) continue;
    if (coder.bits() == 0) return {&coder, 0, 0, bits_ == 0};
    for (const Placed& place : placed_) {
      if (place.coder != &coder || place.dropped > 0) continue;
      return {&coder, place.shift, ~Code{0} >> (64 - coder.bits()), coder.bits() == bits_};
    }
  }
  return {};
}

}  // namespace elevon::kernel

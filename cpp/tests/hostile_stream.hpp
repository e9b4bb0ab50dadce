// Arrow streams made of arbitrary bytes: sometimes well formed, mostly with one thing wrong.
//
// The C interface carries no buffer sizes: a consumer has to believe that a buffer holds what
// length and offset ask for. So every buffer here has exactly that size, in memory of its own,
// where the address sanitizer sees one byte too many; what is hostile is everything that a consumer
// can know: counts, signs, missing pointers, offsets, indices, views, formats, depth.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "arrow/c_data.hpp"

namespace elevon::tests {

// Decisions out of a string of bytes; zeros when it has ended.
class Dice {
 public:
  Dice(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  std::uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  // 0 <= result < bound; bound is at most 256.
  int below(int bound) { return byte() % bound; }
  // True once in `n` throws; never when the bytes have ended.
  bool once_in(int n) { return below(n) == n - 1; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

// One stream and all the memory behind it, which lives as long as this object. It counts what its
// consumer releases: everything that was handed out has to come back, once.
class HostileStream {
 public:
  explicit HostileStream(Dice& dice);

  [[nodiscard]] ArrowArrayStream* stream() { return &stream_; }
  [[nodiscard]] bool all_released() const { return handed_out_ == released_ && double_ == 0; }

 private:
  friend struct Callbacks;

  ArrowSchema* make_schema(int depth);
  std::string_view pick_format(int depth);
  ArrowArray* make_array(const ArrowSchema& schema, std::int64_t rows, int depth);
  void fill(ArrowArray& array, const ArrowSchema& schema, std::int64_t rows, int depth);
  void spoil(ArrowArray& array);
  void spoil_buffer_count(ArrowArray& array, std::int64_t number);
  const void** buffers(ArrowArray& array, std::int64_t count);
  std::byte* memory(std::int64_t bytes);
  std::byte* random(std::int64_t bytes);
  template <typename Offset>
  const void* offsets(std::int64_t count, std::int64_t limit, std::int64_t& last);
  template <typename Offset>
  const void* small_numbers(std::int64_t count, std::int64_t limit);
  void fill_views(ArrowArray& array, std::int64_t extent);

  Dice& dice_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<std::unique_ptr<const void*[]>> pointers_;
  std::vector<std::unique_ptr<ArrowSchema>> schemas_;
  std::vector<std::unique_ptr<ArrowArray>> arrays_;
  std::vector<std::unique_ptr<ArrowSchema*[]>> schema_lists_;
  std::vector<std::unique_ptr<ArrowArray*[]>> array_lists_;
  std::vector<ArrowArray*> batches_;
  ArrowSchema* schema_ = nullptr;
  ArrowArrayStream stream_{};
  std::size_t next_ = 0;
  int handed_out_ = 0;
  int released_ = 0;
  int double_ = 0;
};

}  // namespace elevon::tests

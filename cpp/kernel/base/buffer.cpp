// Small buffers from the heap, large ones from the pool.

#include "kernel/base/buffer.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "kernel/base/config.hpp"

namespace elevon::kernel {
namespace {

std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Never destroyed: results may be released by other libraries after our static destructors ran.
PagePool& pool() {
  static PagePool* const instance = new PagePool;
  return *instance;
}

bool is_pooled(std::int64_t capacity) {
  return capacity >= config::kHugePage;
}

Pages allocate_block(std::int64_t size) {
  if (size < 0) throw std::invalid_argument("a buffer of negative size");
  if (size > (std::int64_t{1} << 62)) throw std::bad_alloc();
  const std::int64_t padded = round_up(size, config::kCacheLine) + config::kCacheLine;
  if (is_pooled(padded)) return pool().take(round_up(padded, config::kHugePage));
  void* data = std::aligned_alloc(config::kCacheLine, static_cast<std::size_t>(padded));
  if (data == nullptr) throw std::bad_alloc();
  return {static_cast<std::byte*>(data), padded, {}};
}

}  // namespace

Buffer::Buffer(std::int64_t size) : pages_(allocate_block(size)), size_(size) {}

Buffer::Buffer(Buffer&& other) noexcept
    : pages_(std::exchange(other.pages_, {})), size_(std::exchange(other.size_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(pages_, other.pages_);
  std::swap(size_, other.size_);
  return *this;
}

Buffer::~Buffer() {
  if (pages_.data == nullptr) return;
  if (is_pooled(pages_.capacity)) {
    pool().give(std::move(pages_));
  } else {
    std::free(pages_.data);
  }
}

Buffer Buffer::zeroed(std::int64_t size) {
  Buffer buffer(size);
  std::memset(buffer.data(), 0, static_cast<std::size_t>(size));
  return buffer;
}

arrow::Memory share(Buffer buffer) {
  const std::byte* data = buffer.data();
  const std::int64_t size = buffer.size();
  return {data, size, std::make_shared<const Buffer>(std::move(buffer))};
}

std::int64_t pooled_bytes() {
  return pool().bytes();
}

void trim_pool() {
  pool().trim();
}

}  // namespace elevon::kernel

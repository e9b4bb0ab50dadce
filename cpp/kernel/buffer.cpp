// The pool behind Buffer. Before it: config. After it: every kernel.

#include "kernel/buffer.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "kernel/config.hpp"

namespace elevon::kernel {
namespace {

// A mapping of whole huge pages.
struct Block {
  std::byte* data = nullptr;
  std::int64_t capacity = 0;
};

std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void unmap(const Block& block) noexcept {
  munmap(block.data, static_cast<std::size_t>(block.capacity));
}

// mmap aligns to small pages only: map one huge page more, and give back what sticks out.
Block map_block(std::int64_t capacity) {
  const auto length = static_cast<std::size_t>(capacity + config::kHugePage);
  void* mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<std::byte*>(mapped);
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(start));
  const std::int64_t head = round_up(address, config::kHugePage) - address;
  if (head > 0) unmap({start, head});
  std::byte* data = start + head;
  if (head < config::kHugePage) unmap({data + capacity, config::kHugePage - head});
  // Advice only: without huge pages everything works, slower.
  static_cast<void>(madvise(data, static_cast<std::size_t>(capacity), MADV_HUGEPAGE));
  return {data, capacity};
}

// Freed blocks, the longest unused first.
class Pool {
 public:
  // The smallest free block that fits without much waste, or an empty one.
  Block take(std::int64_t capacity) {
    const std::lock_guard lock(mutex_);
    const std::int64_t most = capacity + capacity / config::kPoolSlackDivisor;
    auto best = free_.end();
    for (auto at = free_.begin(); at != free_.end(); ++at) {
      const bool fits = at->capacity >= capacity && at->capacity <= most;
      if (fits && (best == free_.end() || at->capacity <= best->capacity)) best = at;
    }
    if (best == free_.end()) return {};
    const Block block = *best;
    free_.erase(best);
    bytes_ -= block.capacity;
    return block;
  }

  // Keeps the block; what was unused longest goes back to the system to make room.
  void give(const Block& block) noexcept {
    const std::lock_guard lock(mutex_);
    if (block.capacity > config::kPoolBytes || !reserve_entry()) return unmap(block);
    while (bytes_ + block.capacity > config::kPoolBytes) drop_oldest();
    free_.push_back(block);
    bytes_ += block.capacity;
  }

  std::int64_t bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    while (!free_.empty()) drop_oldest();
  }

 private:
  // A destructor gives blocks back, so a full vector must not throw there.
  bool reserve_entry() noexcept {
    try {
      free_.reserve(free_.size() + 1);
      return true;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  void drop_oldest() noexcept {
    unmap(free_.front());
    bytes_ -= free_.front().capacity;
    free_.erase(free_.begin());
  }

  std::mutex mutex_;
  std::vector<Block> free_;
  std::int64_t bytes_ = 0;
};

// Never destroyed: results may be released by other libraries after our static destructors ran.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

bool is_pooled(std::int64_t capacity) {
  return capacity >= config::kHugePage;
}

Block allocate_block(std::int64_t size) {
  if (size < 0) throw std::invalid_argument("a buffer of negative size");
  if (size > (std::int64_t{1} << 62)) throw std::bad_alloc();
  const std::int64_t padded = round_up(size, config::kCacheLine) + config::kCacheLine;
  if (is_pooled(padded)) {
    const std::int64_t capacity = round_up(padded, config::kHugePage);
    const Block block = pool().take(capacity);
    return block.data != nullptr ? block : map_block(capacity);
  }
  void* data = std::aligned_alloc(config::kCacheLine, static_cast<std::size_t>(padded));
  if (data == nullptr) throw std::bad_alloc();
  return {static_cast<std::byte*>(data), padded};
}

}  // namespace

Buffer::Buffer(std::int64_t size) : size_(size) {
  const Block block = allocate_block(size);
  data_ = block.data;
  capacity_ = block.capacity;
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(capacity_, other.capacity_);
  return *this;
}

Buffer::~Buffer() {
  if (data_ == nullptr) return;
  if (is_pooled(capacity_)) {
    pool().give({data_, capacity_});
  } else {
    std::free(data_);
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

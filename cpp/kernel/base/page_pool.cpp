#include "kernel/base/page_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>
#include <utility>

#include "kernel/base/config.hpp"

namespace elevon::kernel {
namespace {

// A process may have some 65,000 mappings; a block takes this many of them at most.
constexpr std::size_t kMostPieces = 64;

std::int64_t round_up(std::int64_t value, std::int64_t unit) {
  return (value + unit - 1) / unit * unit;
}

void unmap(std::byte* data, std::int64_t size) noexcept {
  munmap(data, static_cast<std::size_t>(size));
}

// mmap aligns to small pages only: map one huge page more, and give back what sticks out.
Pages map_block(std::int64_t capacity) {
  const auto length = static_cast<std::size_t>(capacity + config::kHugePage);
  void* mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<std::byte*>(mapped);
  const auto address = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(start));
  const std::int64_t head = round_up(address, config::kHugePage) - address;
  if (head > 0) unmap(start, head);
  std::byte* data = start + head;
  if (head < config::kHugePage) unmap(data + capacity, config::kHugePage - head);
  // Advice only: without huge pages everything works, slower.
  static_cast<void>(madvise(data, static_cast<std::size_t>(capacity), MADV_HUGEPAGE));
  return {data, capacity};
}

// The mappings that a block is made of.
std::vector<Pages> pieces_of(const Pages& block) {
  if (block.seams.empty()) return {{block.data, block.capacity}};
  std::vector<Pages> pieces;
  std::byte* data = block.data;
  for (const std::int64_t size : block.seams) {
    pieces.push_back({data, size});
    data += size;
  }
  return pieces;
}

#if defined(__linux__)

// The pages of `from` become those at `target`. Where the system refuses, fresh memory does.
void move_pages(const Pages& from, std::byte* target) {
  const auto size = static_cast<std::size_t>(from.capacity);
  constexpr int kMove = MREMAP_MAYMOVE | MREMAP_FIXED;
  if (mremap(from.data, size, size, kMove, target) != MAP_FAILED) return;
  unmap(from.data, from.capacity);
  constexpr int kFresh = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  void* mapped = mmap(target, size, PROT_READ | PROT_WRITE, kFresh, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
}

// One block of the pieces' pages, and of fresh ones for what is missing.
Pages assemble(const std::vector<Pages>& pieces, std::int64_t capacity) {
  Pages block = map_block(capacity);
  block.seams.reserve(pieces.size() + 1);
  std::int64_t done = 0;
  for (const Pages& piece : pieces) {
    move_pages(piece, block.data + done);
    block.seams.push_back(piece.capacity);
    done += piece.capacity;
  }
  if (done < capacity) block.seams.push_back(capacity - done);
  return block;
}

#endif

}  // namespace

Pages PagePool::take(std::int64_t capacity) {
  const std::lock_guard lock(mutex_);
  Pages fitting = take_fitting(capacity);
  if (fitting.data != nullptr) return fitting;
#if defined(__linux__)
  const std::vector<Pages> pieces = take_pieces(capacity);
  if (!pieces.empty()) return assemble(pieces, capacity);
#endif
  return map_block(capacity);
}

// The smallest idle block that fits without much waste, or an empty one.
Pages PagePool::take_fitting(std::int64_t capacity) {
  const std::int64_t most = capacity + capacity / config::kPoolSlackDivisor;
  auto best = idle_.end();
  for (auto at = idle_.begin(); at != idle_.end(); ++at) {
    const bool fits = at->capacity >= capacity && at->capacity <= most;
    if (fits && (best == idle_.end() || at->capacity <= best->capacity)) best = at;
  }
  if (best == idle_.end()) return {};
  Pages block = std::move(*best);
  idle_.erase(best);
  bytes_ -= block.capacity;
  return block;
}

// Idle mappings of `capacity` together, or less if there is no more.
std::vector<Pages> PagePool::take_pieces(std::int64_t capacity) {
  std::vector<Pages> taken;
  while (capacity > 0 && !idle_.empty()) {
    const auto donor = find_donor(capacity);
    std::vector<Pages> pieces = pieces_of(*donor);
    if (taken.size() + pieces.size() > kMostPieces) break;
    bytes_ -= donor->capacity;
    idle_.erase(donor);
    for (Pages& piece : pieces) {
      const std::int64_t used = std::min(piece.capacity, capacity);
      if (used < piece.capacity) {
        idle_.push_back({piece.data + used, piece.capacity - used});
        bytes_ += piece.capacity - used;
      }
      if (used > 0) taken.push_back({piece.data, used});
      capacity -= used;
    }
  }
  return taken;
}

// The smallest idle block that is enough, or the largest one.
std::vector<Pages>::iterator PagePool::find_donor(std::int64_t wanted) {
  return std::min_element(idle_.begin(), idle_.end(), [&](const Pages& a, const Pages& b) {
    const bool enough = a.capacity >= wanted;
    if (enough != (b.capacity >= wanted)) return enough;
    return enough ? a.capacity < b.capacity : a.capacity > b.capacity;
  });
}

void PagePool::give(Pages block) noexcept {
  const std::lock_guard lock(mutex_);
  if (block.capacity > config::kPoolBytes || !reserve_entry()) {
    return unmap(block.data, block.capacity);
  }
  while (bytes_ + block.capacity > config::kPoolBytes) drop_oldest();
#if defined(MADV_FREE)
  // Advice only: without it the memory stays until it is dropped.
  static_cast<void>(madvise(block.data, static_cast<std::size_t>(block.capacity), MADV_FREE));
#endif
  bytes_ += block.capacity;
  idle_.push_back(std::move(block));
}

std::int64_t PagePool::bytes() {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

void PagePool::trim() {
  const std::lock_guard lock(mutex_);
  while (!idle_.empty()) drop_oldest();
}

// A destructor gives blocks back, so a full vector must not throw there.
bool PagePool::reserve_entry() noexcept {
  try {
    idle_.reserve(idle_.size() + 1);
    return true;
  } catch (const std::bad_alloc&) {
    return false;
  }
}

void PagePool::drop_oldest() noexcept {
  unmap(idle_.front().data, idle_.front().capacity);
  bytes_ -= idle_.front().capacity;
  idle_.erase(idle_.begin());
}

}  // namespace elevon::kernel

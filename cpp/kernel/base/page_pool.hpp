// Idle memory of large buffers: kept for the next ones, because page faults on fresh memory cost
// more than the kernels themselves.
//
// What is idle is bounded (config::kPoolBytes), and the system may take it back when memory gets
// short: it is marked as free (MADV_FREE). A buffer that no idle one fits is put together from the
// pages of several: moving page tables costs microseconds, so memory that lies idle is never an
// addition to what a kernel needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

namespace elevon::kernel {

// Whole huge pages. One mapping, or several side by side: then `seams` are their sizes.
struct Pages {
  std::byte* data = nullptr;
  std::int64_t capacity = 0;
  std::vector<std::int64_t> seams{};
};

class PagePool {
 public:
  // A block of `capacity` (whole huge pages) or somewhat more. Throws std::bad_alloc.
  [[nodiscard]] Pages take(std::int64_t capacity);

  // Keeps the block; what was idle longest goes back to the system to make room.
  void give(Pages block) noexcept;

  [[nodiscard]] std::int64_t bytes();
  // Returns all idle memory to the system.
  void trim();

 private:
  [[nodiscard]] Pages take_fitting(std::int64_t capacity);
  [[nodiscard]] std::vector<Pages> take_pieces(std::int64_t capacity);
  [[nodiscard]] std::vector<Pages>::iterator find_donor(std::int64_t wanted);
  [[nodiscard]] bool reserve_entry() noexcept;
  void drop_oldest() noexcept;

  std::mutex mutex_;
  std::vector<Pages> idle_;  // longest idle first
  std::int64_t bytes_ = 0;
};

}  // namespace elevon::kernel

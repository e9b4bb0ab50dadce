// Memory of the kernels: 64-byte aligned, in huge pages when large, reused between calls.
//
// Freed large buffers stay in one process-wide pool of at most config::kPoolBytes. Content of a new
// buffer is unspecified; at least one cache line after its end may be read and written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "arrow/view.hpp"
#include "kernel/base/page_pool.hpp"

namespace elevon::kernel {

class Buffer {
 public:
  Buffer() = default;
  // Throws std::bad_alloc; std::invalid_argument for a negative size.
  explicit Buffer(std::int64_t size);
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();

  [[nodiscard]] static Buffer zeroed(std::int64_t size);

  [[nodiscard]] std::byte* data() const { return pages_.data; }
  [[nodiscard]] std::int64_t size() const { return size_; }
  template <typename T>
  [[nodiscard]] T* as() const {
    return reinterpret_cast<T*>(pages_.data);
  }

 private:
  Pages pages_;
  std::int64_t size_ = 0;
};

// An owned array of trivial T: the size is in elements, values start unspecified.
template <typename T>
class OwnedArray {
 public:
  OwnedArray() = default;
  explicit OwnedArray(std::int64_t size)
      : buffer_(size * static_cast<std::int64_t>(sizeof(T))), size_(size) {}

  [[nodiscard]] T* data() const { return buffer_.as<T>(); }
  [[nodiscard]] std::int64_t size() const { return size_; }
  [[nodiscard]] T& operator[](std::int64_t index) const { return data()[index]; }
  [[nodiscard]] T* begin() const { return data(); }
  [[nodiscard]] T* end() const { return data() + size_; }
  [[nodiscard]] std::span<T> span() const { return {data(), static_cast<std::size_t>(size_)}; }
  [[nodiscard]] Buffer take() && { return std::move(buffer_); }

 private:
  Buffer buffer_;
  std::int64_t size_ = 0;
};

// Gives the buffer to a result: its memory returns to the pool when the last user lets it go.
[[nodiscard]] arrow::Memory share(Buffer buffer);
template <typename T>
[[nodiscard]] arrow::Memory share(OwnedArray<T> array) {
  return share(std::move(array).take());
}

// Bytes that the pool holds for reuse now.
[[nodiscard]] std::int64_t pooled_bytes();
// Returns all of them to the system.
void trim_pool();

}  // namespace elevon::kernel

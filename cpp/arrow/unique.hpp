// Owners of the Arrow C structs: what was taken over is released once, whatever is thrown.
#pragma once

#include <utility>

#include "arrow/c_data.hpp"

namespace elevon::arrow {

template <typename Struct>
class Unique {
 public:
  Unique() = default;
  // Takes over the content; the source is marked as released, as the C interface wants it.
  explicit Unique(Struct* source) noexcept : value_(*source) { source->release = nullptr; }
  Unique(Unique&& other) noexcept : value_(std::exchange(other.value_, Struct{})) {}
  Unique& operator=(Unique&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  Unique(const Unique&) = delete;
  Unique& operator=(const Unique&) = delete;
  ~Unique() {
    if (value_.release != nullptr) value_.release(&value_);
  }

  [[nodiscard]] Struct* get() noexcept { return &value_; }
  [[nodiscard]] const Struct* get() const noexcept { return &value_; }
  [[nodiscard]] Struct* operator->() noexcept { return &value_; }
  [[nodiscard]] const Struct* operator->() const noexcept { return &value_; }
  [[nodiscard]] explicit operator bool() const noexcept { return value_.release != nullptr; }

  // Hands the content to a C consumer, which must release it.
  void move_to(Struct* target) noexcept { *target = std::exchange(value_, Struct{}); }

 private:
  Struct value_{};
};

using UniqueSchema = Unique<ArrowSchema>;
using UniqueArray = Unique<ArrowArray>;
using UniqueStream = Unique<ArrowArrayStream>;

}  // namespace elevon::arrow

// Plans and writes frames.

#include "kernel/exchange/message.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernel/base/config.hpp"

namespace elevon::kernel {
namespace {

std::int64_t pad(std::int64_t size) {
  return (size + config::kCacheLine - 1) / config::kCacheLine * config::kCacheLine;
}

template <typename T>
std::int64_t size_of(const std::vector<T>& items) {
  return std::ssize(items) * static_cast<std::int64_t>(sizeof(T));
}

}  // namespace

std::size_t FrameLayout::add_node(std::int64_t length, std::int64_t null_count) {
  nodes_.push_back({length, null_count, 0});
  return nodes_.size() - 1;
}

std::size_t FrameLayout::add_buffer(std::int64_t size) {
  buffers_.push_back({payload_, size});
  regions_.push_back(buffers_.back());
  payload_ += pad(size);
  return buffers_.size() - 1;
}

std::size_t FrameLayout::add_view_data(std::size_t node, std::int64_t bytes) {
  const std::size_t first = buffers_.size();
  constexpr std::int64_t kReach = kViewStride + std::numeric_limits<std::int32_t>::max();
  for (std::int64_t begin = 0; begin < bytes; begin += kViewStride) {
    buffers_.push_back({payload_ + begin, std::min(bytes - begin, kReach)});
  }
  nodes_[node].data_buffers = std::ssize(buffers_) - static_cast<std::int64_t>(first);
  regions_.push_back({payload_, bytes});
  payload_ += pad(bytes);
  return first;
}

void FrameLayout::set_null_count(std::size_t node, std::int64_t null_count) {
  nodes_[node].null_count = null_count;
}

std::int64_t FrameLayout::tables_bytes() const {
  return pad(static_cast<std::int64_t>(sizeof(FrameHeader)) + size_of(nodes_) + size_of(buffers_));
}

std::int64_t FrameLayout::bytes() const {
  return tables_bytes() + payload_;
}

std::byte* FrameLayout::at(std::byte* frame, std::size_t index) const {
  return frame + tables_bytes() + buffers_[index].offset;
}

void FrameLayout::write(std::byte* frame) const {
  const std::int64_t tables = tables_bytes();
  const FrameHeader header{kFrameMagic,          bytes(), rows_, std::ssize(nodes_),
                           std::ssize(buffers_), {}};
  std::memset(frame, 0, static_cast<std::size_t>(tables));
  std::memcpy(frame, &header, sizeof header);
  std::byte* at = frame + sizeof header;
  for (const FrameNode& node : nodes_) {
    std::memcpy(at, &node, sizeof node);
    at += sizeof node;
  }
  for (const FrameBuffer& buffer : buffers_) {
    const FrameBuffer placed{buffer.offset + tables, buffer.size};
    std::memcpy(at, &placed, sizeof placed);
    at += sizeof placed;
  }
  // Old content of reused memory must not travel to other processes.
  for (const FrameBuffer& region : regions_) {
    std::memset(frame + tables + region.offset + region.size, 0,
                static_cast<std::size_t>(pad(region.size) - region.size));
  }
}

}  // namespace elevon::kernel

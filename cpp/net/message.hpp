// Messages under way, on both ends.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "net/frame.hpp"
#include "net/memory.hpp"

namespace elevon::net {

// A message that leaves from the caller's memory, which must stay until it is done.
struct Send {
  Frame head;  // of the whole message
  const std::byte* data = nullptr;
  std::int64_t taken = 0;  // bytes that were cut into frames so far
  bool done = false;       // the kernel has all of it, or the peer has read it
};

class Inbound;

// Memory of the caller that waits for a message.
struct Receive {
  Frame head;  // what the sender has to say
  std::byte* data = nullptr;
  bool done = false;
  std::weak_ptr<Inbound> message;  // that is being put there
};

// A message that arrives: into the memory of the Receive that waits for it, or else into pieces of
// our own until somebody does. Never trusts a total: memory is taken as bytes come.
class Inbound {
 public:
  // `account` adds up what is kept of one peer's messages.
  Inbound(const Frame& head, std::shared_ptr<std::int64_t> account)
      : head_(head), account_(std::move(account)) {}
  ~Inbound() { drop_pieces(); }
  Inbound(const Inbound&) = delete;
  Inbound& operator=(const Inbound&) = delete;

  [[nodiscard]] const Frame& head() const { return head_; }
  [[nodiscard]] bool complete() const { return received_ == head_.total; }
  [[nodiscard]] std::int64_t received() const { return received_; }
  // Whether somebody waits for it, or nobody ever will.
  [[nodiscard]] bool bound() const { return receive_ != nullptr; }
  [[nodiscard]] bool discarded() const { return discarded_; }
  // Of a message that is offered: where it lies, once the offer has arrived.
  [[nodiscard]] const Offer& offer() const { return offer_; }
  // Where its next bytes go; it is bound.
  [[nodiscard]] std::byte* target() const { return receive_->data + received_; }
  // `size` more bytes were copied to `target`. They count for nothing before `confirm`.
  void copied(std::int64_t size) { received_ += size; }
  void confirm() { receive_->done = complete(); }

  // The memory for the next `size` bytes of a frame, or nullptr where they are dropped.
  [[nodiscard]] std::byte* room(std::int64_t size) {
    if (head_.offered != 0) {
      return reinterpret_cast<std::byte*>(&offer_) + sizeof offer_ - static_cast<std::size_t>(size);
    }
    if (discarded_) return nullptr;
    if (receive_ != nullptr) return receive_->data + received_;
    if (pieces_.empty() || piece_used_ + size > static_cast<std::int64_t>(pieces_.back().size())) {
      pieces_.emplace_back(static_cast<std::size_t>(size));
      piece_used_ = 0;
    }
    return pieces_.back().data() + piece_used_;
  }

  void arrived(std::int64_t size) {
    if (head_.offered != 0) return;
    received_ += size;
    if (receive_ != nullptr) {
      receive_->done = complete();
    } else if (!discarded_) {
      piece_used_ += size;
      kept_ += size;
      *account_ += size;
    }
  }

  // Hands what has come to `receive`, and the rest as it comes. Their heads agree.
  void bind(Receive* receive) {
    std::byte* target = receive->data;
    std::int64_t left = received_;
    for (const std::vector<std::byte>& piece : pieces_) {
      const std::int64_t size = std::min(left, static_cast<std::int64_t>(piece.size()));
      if (size > 0) std::memcpy(target, piece.data(), static_cast<std::size_t>(size));
      target += size;
      left -= size;
    }
    drop_pieces();
    receive_ = receive;
    receive->done = complete();
  }

  // Copies a short message that has come whole; false where it has another length.
  [[nodiscard]] bool copy_to(std::span<std::byte> target) {
    if (head_.total != static_cast<std::int64_t>(target.size())) return false;
    Receive receive;
    receive.data = target.data();
    bind(&receive);
    receive_ = nullptr;
    return receive.done;
  }

  // Nobody wants it any more: what still comes is read and dropped.
  void discard() {
    discarded_ = true;
    receive_ = nullptr;
    drop_pieces();
  }

 private:
  void drop_pieces() {
    pieces_.clear();
    *account_ -= kept_;
    kept_ = 0;
  }

  Frame head_;
  std::shared_ptr<std::int64_t> account_;
  std::int64_t received_ = 0;
  std::int64_t kept_ = 0;
  std::int64_t piece_used_ = 0;
  bool discarded_ = false;
  Offer offer_;
  Receive* receive_ = nullptr;
  std::vector<std::vector<std::byte>> pieces_;
};

using InboundPtr = std::shared_ptr<Inbound>;

}  // namespace elevon::net

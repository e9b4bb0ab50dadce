#include "net/link.hpp"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace elevon::net {
namespace {

// Headers and small messages come in one read of this size, or behind a large payload.
constexpr std::int64_t kStageBytes = 64 * 1024;
// A turn at one link ends here, so that a fast peer does not keep the others waiting.
constexpr std::int64_t kTurnBytes = 4 * kChunkBytes;
// An offer costs a way back and the kernel's search for pages; a larger message makes up for it.
constexpr std::int64_t kOfferBytes = 128 * 1024;

std::size_t unsigned_of(std::int64_t size) {
  return static_cast<std::size_t>(size);
}

bool offer_is_sound(const Frame& frame) {
  if (frame.offered == 0) return true;
  const bool is_call =
      frame.kind != Kind::kNotice && static_cast<std::uint32_t>(frame.kind) < kCollectives;
  return frame.offered == 1 && is_call && frame.offset == 0 && frame.size == sizeof(Offer);
}

}  // namespace

Link::Link(int peer, int descriptor, std::string name)
    : peer_(peer),
      descriptor_(descriptor),
      name_(std::move(name)),
      staged_(unsigned_of(kStageBytes)) {}

Link::~Link() {
  for (Offered& offered : offered_) offered.word = 0;
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool Link::has_backlog() const {
  return !lost() && !mute_ && (leaving_ != nullptr || !notices_.empty() || !messages_.empty());
}

void Link::send_notice(const Frame& head, std::span<const std::byte> payload) {
  Leaving notice;
  notice.head = head;
  notice.head.total = notice.head.size = static_cast<std::int64_t>(payload.size());
  notice.own.assign(payload.begin(), payload.end());
  notices_.push_back(std::move(notice));
}

void Link::make_offer(Send* message) {
  Offered& offered = offered_.emplace_back();
  offered.message = message;
  offered.token = new_token();
  offered.word = offered.token;
  const Offer offer{reinterpret_cast<std::uint64_t>(message->data),
                    reinterpret_cast<std::uint64_t>(&offered.word), offered.token};
  leaving_ = std::make_unique<Leaving>();
  leaving_->head = message->head;
  leaving_->head.offered = 1;
  leaving_->head.size = sizeof offer;
  const auto bytes = std::as_bytes(std::span(&offer, 1));
  leaving_->own.assign(bytes.begin(), bytes.end());
  leaving_->data = leaving_->own.data();
}

void Link::taken(std::uint64_t token) {
  const auto offered = std::ranges::find(offered_, token, &Offered::token);
  if (offered == offered_.end()) return;  // withdrawn meanwhile
  offered->message->done = true;
  offered->word = 0;
  offered_.erase(offered);
}

void Link::withdraw(const Send* message) {
  if (const auto offered = std::ranges::find(offered_, message, &Offered::message);
      offered != offered_.end()) {
    offered->word = 0;  // before the caller gets its memory back
    offered_.erase(offered);
    return;
  }
  std::erase(messages_, message);
  if (leaving_ == nullptr || leaving_->message != message) return;
  leaving_->message = nullptr;
  if (leaving_->written == 0) {
    leaving_.reset();
  } else {
    leaving_->own.assign(leaving_->data, leaving_->data + leaving_->head.size);
    leaving_->data = leaving_->own.data();
  }
}

void Link::write() {
  std::int64_t turns = kTurnBytes / kChunkBytes;
  while (!lost() && !mute_ && turns-- > 0 && next_frame() && write_some()) continue;
}

// Whether there is a frame to write.
bool Link::next_frame() {
  if (leaving_ != nullptr) return true;
  if (!notices_.empty()) {
    leaving_ = std::make_unique<Leaving>(std::move(notices_.front()));
    leaving_->data = leaving_->own.data();
    notices_.pop_front();
    return true;
  }
  if (messages_.empty()) return false;
  Send* message = messages_.front();
  if (offers_ && message->taken == 0 && message->head.total >= kOfferBytes) {
    messages_.pop_front();
    make_offer(message);
    return true;
  }
  leaving_ = std::make_unique<Leaving>();
  leaving_->message = message;
  leaving_->head = message->head;
  leaving_->head.offset = message->taken;
  leaving_->head.size = std::min(kChunkBytes, message->head.total - message->taken);
  leaving_->data = message->data + message->taken;
  message->taken += leaving_->head.size;
  return true;
}

// Whether the kernel took all of the frame.
bool Link::write_some() {
  Leaving& frame = *leaving_;
  const std::int64_t of_header = std::min(frame.written, kHeaderBytes);
  const std::int64_t of_data = frame.written - of_header;
  std::array<iovec, 2> parts{};
  parts[0] = {reinterpret_cast<std::byte*>(&frame.head) + of_header,
              unsigned_of(kHeaderBytes - of_header)};
  parts[1] = {const_cast<std::byte*>(frame.data) + of_data, unsigned_of(frame.head.size - of_data)};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const ssize_t written = ::sendmsg(descriptor_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (written < 0) {
    // A peer that has died may have said why: that is read first, and its end comes behind it.
    mute_ = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
    return false;
  }
  frame.written += written;
  if (frame.written < frame.size()) return false;
  frame_is_out();
  return true;
}

void Link::frame_is_out() {
  Send* message = leaving_->message;
  leaving_.reset();
  if (message == nullptr || message->taken < message->head.total) return;
  message->done = true;
  messages_.pop_front();
}

void Link::read(Sink& sink) {
  std::int64_t turns = kTurnBytes / kChunkBytes;
  while (!lost() && turns-- > 0 && read_some(sink)) continue;
}

// Whether there may be more to read now.
bool Link::read_some(Sink& sink) {
  std::byte* room = left_ > 0 ? message_->room(left_) : nullptr;
  const std::int64_t direct = room == nullptr ? 0 : left_;
  const std::int64_t free = kStageBytes - staged_size_;
  std::array<iovec, 2> parts{};
  parts[0] = {room, unsigned_of(direct)};
  parts[1] = {staged_.data() + staged_size_, unsigned_of(free)};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  const ssize_t count = ::recvmsg(descriptor_, &message, MSG_DONTWAIT);
  if (count < 0) {
    fail_errno();
    return false;
  }
  if (count == 0) {
    lose(dismissed_ ? "it has left" : "its connection was closed: the process has ended");
    return false;
  }
  take(sink, std::min<std::int64_t>(count, direct), std::max<std::int64_t>(count - direct, 0));
  return count == direct + free;
}

// Bytes have arrived: `direct` of them in place, `staged` of them behind what was staged before.
void Link::take(Sink& sink, std::int64_t direct, std::int64_t staged) {
  if (direct > 0) {
    message_->arrived(direct);
    left_ -= direct;
    if (left_ == 0) frame_is_in(sink);
  }
  const std::int64_t end = staged_size_ + staged;
  std::int64_t at = 0;
  while (!lost() && at < end) {
    if (left_ > 0) {
      const std::int64_t size = std::min(left_, end - at);
      if (std::byte* room = message_->room(left_); room != nullptr) {
        std::memcpy(room, staged_.data() + at, unsigned_of(size));
      }
      message_->arrived(size);
      left_ -= size;
      at += size;
      if (left_ == 0) frame_is_in(sink);
    } else if (end - at >= kHeaderBytes && take_header(sink, staged_.data() + at)) {
      at += kHeaderBytes;
    } else {
      break;
    }
  }
  staged_size_ = end - at;
  std::memmove(staged_.data(), staged_.data() + at, unsigned_of(staged_size_));
}

bool Link::take_header(Sink& sink, const std::byte* bytes) {
  Frame frame;
  std::memcpy(&frame, bytes, sizeof frame);
  const bool sound = frame.magic == kMagic && static_cast<std::uint32_t>(frame.kind) < kKinds &&
                     frame.size >= 0 && frame.size <= kChunkBytes && frame.offset >= 0 &&
                     frame.total >= 0 && frame.size <= frame.total &&
                     frame.offset <= frame.total - frame.size && offer_is_sound(frame);
  message_ = sound ? sink.begin(peer_, frame) : nullptr;
  if (message_ == nullptr) {
    lose("it sent what is no frame of ours: another release, or a defect");
    return false;
  }
  left_ = frame.size;
  if (left_ == 0) frame_is_in(sink);
  return true;
}

void Link::frame_is_in(Sink& sink) {
  sink.end(peer_, message_);
  message_.reset();
}

void Link::fail_errno() {
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return;
  if (errno == ECONNRESET || errno == EPIPE) {
    lose("its connection was closed: the process has ended");
  } else {
    lose(std::string("its connection failed: ") + std::strerror(errno));
  }
}

void Link::lose(std::string reason) {
  if (lost()) return;
  loss_ = std::move(reason);
  ::close(descriptor_);
  descriptor_ = -1;
  messages_.clear();
  for (Offered& offered : offered_) offered.word = 0;
  offered_.clear();
  notices_.clear();
  leaving_.reset();
  message_.reset();
  left_ = staged_size_ = 0;
}

}  // namespace elevon::net

// How a call on a mesh waits for its messages. Rounds and failing: mesh_run.cpp.

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "net/mesh.hpp"

namespace elevon::net {
namespace {

// A wait is cut into pieces of at most this, after each of which signals are looked at.
constexpr int kSliceMs = 200;
constexpr int kEvents = 64;
// Twice a barrier; whoever is later than that is late for a reason.
constexpr std::chrono::microseconds kSpin{100};
// A yield that takes this long has given the core to a process that computes, for its whole time
// slice of 3 to 5 ms. It is paid back: nobody spins before twenty times as much has gone by.
constexpr std::chrono::microseconds kLongYield{500};
constexpr int kPaidBack = 20;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

void Mesh::wait(Lock& lock, Group& group, const Call& call, const Awaited& awaited) {
  // What is complete has succeeded, also where the next call will fail.
  while (!awaited.done()) {
    check(group, call, awaited);
    if (!copy_offers()) spin(lock, awaited);
    const bool copies = copy_offers();
    if (awaited.done()) return;
    check(group, call, awaited);
    int patience_ms = copies ? 0 : kSliceMs;
    if (call.timeout_s) {
      const double left_ms = std::ceil((*call.timeout_s - seconds_since(call.start)) * 1000);
      patience_ms = static_cast<int>(std::clamp(left_ms, 0.0, 1.0 * patience_ms));
    }
    const bool idle = !poll(lock, patience_ms);
    if (idle && !copies) look_up(lock, group);
  }
}

// Asks those that are waited for, again and again. To be woken costs more than a small message
// does: barrier of 4 ranks on 2 idle cores, 100 us asleep and 60 us so. Not while another thread
// waits: what is read here for that one would not wake it.
void Mesh::spin(Lock& lock, const Awaited& awaited) {
  Clock::time_point now = Clock::now();
  const Clock::time_point end = now + kSpin;
  while (now < end && now >= spins_again_ && callers_ == 1) {
    for (const int peer : awaited.pending()) touch(peer);
    if (awaited.done() || has_offers()) return;
    lock.unlock();
    ::sched_yield();
    lock.lock();
    const Clock::time_point before = std::exchange(now, Clock::now());
    if (now - before > kLongYield) spins_again_ = now + kPaidBack * (now - before);
  }
}

// Moves what can be moved to and from a peer, as far as epoll watches it.
void Mesh::touch(int peer) {
  Peer& state = peers_[static_cast<std::size_t>(peer)];
  if (state.link == nullptr || state.link->lost()) return;
  if (state.link->has_backlog()) state.link->write();
  if ((state.events & EPOLLIN) != 0) state.link->read(*this);
  update_events(peer);
}

void Mesh::look_up(Lock& lock, Group& group) {
  lock.unlock();
  try {
    look_up_();
    lock.lock();
  } catch (...) {
    lock.lock();
    const Failure failure{FailureKind::kAborted,
                          whose(group, group.rank()) + " was interrupted in group " + group.name(),
                          group.rank()};
    if (group.fail(failure)) tell(group, failure);
    throw;
  }
}

// Waits for the kernel's word, with nothing locked, and does what can be done then; false where no
// word came. One thread does it for all, who are told: what it moves for another one wakes nobody.
bool Mesh::poll(Lock& lock, int timeout_ms) {
  if (polls_) {
    return moved_.wait_for(lock, std::chrono::milliseconds(timeout_ms)) ==
           std::cv_status::no_timeout;
  }
  std::array<epoll_event, kEvents> events{};
  polls_ = true;
  lock.unlock();
  const int count = ::epoll_wait(epoll_, events.data(), kEvents, timeout_ms);
  lock.lock();
  polls_ = false;
  for (int i = 0; i < count; ++i) serve(events[static_cast<std::size_t>(i)]);
  moved_.notify_all();
  return count > 0;
}

void Mesh::serve(const epoll_event& event) {
  const int peer = event.data.fd;
  if (peer < 0) {
    std::uint64_t wakes = 0;
    [[maybe_unused]] const ssize_t count = ::read(wake_, &wakes, sizeof wakes);
    return;
  }
  Peer& state = peers_[static_cast<std::size_t>(peer)];
  if (state.link == nullptr || state.link->lost()) return;
  if ((event.events & EPOLLOUT) != 0) state.link->write();
  if ((event.events & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0) state.link->read(*this);
  update_events(peer);
}

// Whether something that is offered can be copied.
bool Mesh::has_offers() const {
  return std::ranges::any_of(offers_, [](const auto& offer) { return offer.second->bound(); });
}

bool Mesh::copy_offers() {
  bool more = false;
  // By index: answering may end a connection, and with it other offers.
  for (std::size_t i = 0; i < offers_.size();) {
    const auto [peer, message] = offers_[i];
    if (!message->discarded() && !(message->bound() && copy_offer(peer, *message))) {
      more = more || message->bound();
      ++i;
      continue;
    }
    offers_.erase(offers_.begin() + static_cast<std::ptrdiff_t>(i));
    const std::uint64_t token = message->offer().token;
    answer(peer, Kind::kTaken, std::as_bytes(std::span(&token, 1)));
  }
  return more;
}

// Copies a piece; true when the message is over.
bool Mesh::copy_offer(int peer, Inbound& message) {
  Link& link = *peers_[static_cast<std::size_t>(peer)].link;
  const std::int64_t done = message.received();
  const std::int64_t size = std::min(kChunkBytes, message.head().total - done);
  const Offer& offer = message.offer();
  const std::uint64_t from = offer.data + static_cast<std::uint64_t>(done);
  const bool copied = read_memory(link.process(), from, message.target(), size);
  if (copied) message.copied(size);
  if (copied && !message.complete()) return false;
  // Without the word the memory was taken back: the sender has failed, and says why.
  if (!holds(link.process(), offer.word, offer.token)) return true;
  if (copied) {
    message.confirm();
    return true;
  }
  link.lose("its memory can no longer be read");
  update_events(peer);
  return false;
}

}  // namespace elevon::net

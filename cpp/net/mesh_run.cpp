// Calls on a mesh: rounds and failing. Waiting: mesh_wait.cpp. Slots and groups: mesh.cpp.

#include <poll.h>
#include <unistd.h>

#include <algorithm>

#include "net/fold.hpp"
#include "net/mesh.hpp"

namespace elevon::net {
namespace {

// A member that died may have done its part of the call; if the others cannot end it by themselves
// in this time, it had not.
constexpr double kLossGraceS = 0.5;
constexpr int kPumpMs = 50;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string where(const Group& group, const Call& call) {
  return std::string(name_of(call.kind)) + " of group " + group.name() + ": ";
}

std::string reduction_of(std::uint16_t what) {
  if (what == 0 || what > kOps * kTypes) return "";
  const auto op = static_cast<Op>((what - 1) % kOps);
  const auto type = static_cast<Type>((what - 1) / kOps);
  return std::string(", ") + name_of(op) + " of " + name_of(type);
}

std::string describe(const Frame& frame) {
  return std::string(name_of(frame.kind)) + " (call " + std::to_string(frame.call) + ", root " +
         std::to_string(frame.root) + ", step " + std::to_string(frame.step) + ", " +
         std::to_string(frame.total) + " bytes" + reduction_of(frame.what) + ")";
}

}  // namespace

// The messages of one round; what is not done when this goes is taken back.
class Mesh::Exchange final : public Awaited {
 public:
  Exchange(Mesh& mesh, Group& group) : mesh_(mesh), group_(group) {}
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() override { take_back(); }

  void post(const Round& round, const Frame& head) {
    receives_.reserve(round.receives.size());
    sends_.reserve(round.sends.size());
    for (const Incoming& part : round.receives) {
      const int peer = group_.peers()[static_cast<std::size_t>(part.rank)];
      Receive& receive = receives_.emplace_back(peer, Receive{}).second;
      receive.head = head;
      receive.data = part.bytes.data();
      receive.head.total = static_cast<std::int64_t>(part.bytes.size());
      group_.expect(peer, &receive);
    }
    for (const Outgoing& part : round.sends) {
      const int peer = group_.peers()[static_cast<std::size_t>(part.rank)];
      Send& send = sends_.emplace_back(peer, Send{head, part.bytes.data()}).second;
      send.head.total = static_cast<std::int64_t>(part.bytes.size());
      // Another process may have taken its slot, which this is not meant for.
      if (group_.loss_of(peer) != nullptr) continue;
      Link& link = *mesh_.peers_[static_cast<std::size_t>(peer)].link;
      link.send(&send);
      link.write();
      mesh_.update_events(peer);
    }
    // A peer may have been held back for what this round has taken in.
    for (const auto& [peer, receive] : receives_) mesh_.update_events(peer);
  }

  [[nodiscard]] bool done() const override {
    const auto is_done = [](const auto& entry) { return entry.second.done; };
    return std::ranges::all_of(receives_, is_done) && std::ranges::all_of(sends_, is_done);
  }

  // The peers that something is still to come from or to go to.
  [[nodiscard]] std::vector<int> pending() const override {
    std::vector<int> peers;
    const auto add = [&](const auto& entry) {
      if (!entry.second.done) peers.push_back(entry.first);
    };
    std::ranges::for_each(receives_, add);
    std::ranges::for_each(sends_, add);
    std::ranges::sort(peers);
    const auto rest = std::ranges::unique(peers);
    peers.erase(rest.begin(), rest.end());
    return peers;
  }

 private:
  void take_back() {
    for (const auto& [peer, receive] : receives_) {
      if (!receive.done) group_.abandon(peer, &receive);
    }
    for (const auto& [peer, send] : sends_) {
      if (!send.done) mesh_.peers_[static_cast<std::size_t>(peer)].link->withdraw(&send);
    }
  }

  Mesh& mesh_;
  Group& group_;
  std::vector<std::pair<int, Receive>> receives_;
  std::vector<std::pair<int, Send>> sends_;
};

// Somebody is in a call; what a failed one leaves half sent is finished after the last has left.
class Mesh::Caller {
 public:
  explicit Caller(Mesh& mesh) : mesh_(mesh) { ++mesh.callers_; }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  ~Caller() {
    --mesh_.callers_;
    mesh_.hand_over_backlog();
  }

 private:
  Mesh& mesh_;
};

// The costs of all other members of a group.
class Mesh::Announcements final : public Awaited {
 public:
  Announcements(const Mesh& mesh, const Group& group) : mesh_(mesh), group_(group) {}
  [[nodiscard]] bool done() const override { return pending().empty(); }
  [[nodiscard]] std::vector<int> pending() const override {
    std::vector<int> peers;
    for (const int peer : group_.peers()) {
      const Peer& state = mesh_.peers_[static_cast<std::size_t>(peer)];
      if (peer != mesh_.self_ && !state.costs) peers.push_back(peer);
    }
    return peers;
  }

 private:
  const Mesh& mesh_;
  const Group& group_;
};

Costs Mesh::costs_of(Group& group, const Call& call) {
  Lock lock(mutex_);
  if (group.costs) return *group.costs;
  const Caller caller(*this);
  wait(lock, group, call, Announcements(*this, group));
  Costs costs = *costs_;
  for (const int peer : group.peers()) {
    if (peer != self_) costs = slower(costs, *peers_[static_cast<std::size_t>(peer)].costs);
  }
  group.costs = costs;
  return costs;
}

void Mesh::run(Group& group, const Call& call, std::span<const Round> rounds) {
  Lock lock(mutex_);
  const Caller caller(*this);
  if (call.kind != Kind::kMessage) ++group.calls;
  Frame head{.kind = call.kind, .group = group.id(), .root = call.root, .what = call.what};
  head.call = call.kind == Kind::kMessage ? 0 : group.calls;
  check(group, call, Exchange(*this, group));
  if (!group.losses().empty()) fail_lost(group, call, group.losses().front());
  for (const Round& round : rounds) {
    head.step = round.step;
    Exchange exchange(*this, group);
    exchange.post(round, head);
    wait(lock, group, call, exchange);
    if (round.then.empty()) continue;
    lock.unlock();
    for (const auto& act : round.then) act();
    lock.lock();
  }
}

// Throws where the group has failed, or fails now.
void Mesh::check(Group& group, const Call& call, const Awaited& awaited) {
  if (const Failure* failure = group.failure(); failure != nullptr) throw GroupFailed(*failure);
  if (const auto mismatch = group.take_mismatch(); mismatch) fail_mismatch(group, call, *mismatch);
  if (awaited.done()) return;
  const std::vector<int> pending = awaited.pending();
  for (const int peer : pending) {
    if (const Loss* loss = group.loss_of(peer); loss != nullptr) fail_lost(group, call, *loss);
  }
  for (const Loss& loss : group.losses()) {
    if (!loss.left && seconds_since(loss.at) >= kLossGraceS) fail_lost(group, call, loss);
  }
  if (call.timeout_s && seconds_since(call.start) >= *call.timeout_s)
    fail_late(group, call, pending);
}

void Mesh::fail_mismatch(Group& group, const Call& call, const Mismatch& mismatch) {
  const int rank = group.rank_of(mismatch.peer);
  fail(group, {FailureKind::kAborted,
               where(group, call) + whose(group, rank) + " sent " + describe(mismatch.came) +
                   " where " + describe(mismatch.wanted) +
                   " was expected: all members must make the same calls in the same order, with "
                   "equal shapes",
               rank});
}

void Mesh::fail_lost(Group& group, const Call& call, const Loss& loss) {
  const int rank = group.rank_of(loss.peer);
  fail(group, {FailureKind::kLost,
               where(group, call) + whose(group, rank) + " is lost: " + loss.reason, rank});
}

void Mesh::fail_late(Group& group, const Call& call, const std::vector<int>& pending) {
  std::string names;
  for (const int peer : pending) {
    names += (names.empty() ? "" : ", ") + whose(group, group.rank_of(peer));
  }
  const std::string limit = std::to_string(*call.timeout_s);
  fail(group, {FailureKind::kTimeout,
               where(group, call) + "still waiting for " + names + " after " +
                   limit.substr(0, limit.find('.') + 3) + " s",
               -1});
}

std::string Mesh::whose(const Group& group, int rank) const {
  if (rank < 0) return "a stranger";
  const int peer = group.peers()[static_cast<std::size_t>(rank)];
  const auto& link = peers_[static_cast<std::size_t>(peer)].link;
  const std::string text = "rank " + std::to_string(rank);
  return link == nullptr || link->name().empty() ? text : text + " (" + link->name() + ")";
}

void Mesh::fail(Group& group, const Failure& failure) {
  if (group.fail(failure)) tell(group, failure);
  throw GroupFailed(*group.failure());
}

void Mesh::abort(Group& group, const Failure& failure) {
  const Lock lock(mutex_);
  if (!group.fail(failure)) return;
  tell(group, failure);
  hand_over_backlog();
}

void Mesh::tell(const Group& group, const Failure& failure) {
  Frame head{.kind = Kind::kNotice, .group = group.id(), .root = failure.rank};
  head.call = static_cast<std::uint64_t>(failure.kind);
  const std::string reason = failure.reason.substr(0, static_cast<std::size_t>(kLongestReason));
  for (const int peer : group.peers()) {
    const auto& link = peers_[static_cast<std::size_t>(peer)].link;
    // A slot that was filled anew is held by a process that knows nothing of this group.
    if (peer == self_ || group.loss_of(peer) != nullptr || link->lost()) continue;
    link->send_notice(head, std::as_bytes(std::span(reason)));
    link->write();
    update_events(peer);
  }
  wake();
}

bool Mesh::has_backlog() const {
  return std::ranges::any_of(
      peers_, [](const Peer& state) { return state.link != nullptr && state.link->has_backlog(); });
}

// Nobody may call for a long time, but what was begun has to be finished.
void Mesh::hand_over_backlog() {
  if (callers_ > 0 || closed_ || !has_backlog()) return;
  if (!pump_.joinable()) pump_ = std::jthread([this](const std::stop_token& stop) { pump(stop); });
  backlog_.notify_all();
}

void Mesh::pump(const std::stop_token& stop) {
  Lock lock(mutex_);
  while (backlog_.wait(lock, stop, [this] { return callers_ == 0 && has_backlog(); }) &&
         !stop.stop_requested()) {
    flush_for(lock, kPumpMs * 1e-3);
  }
}

void Mesh::flush_for(Lock& lock, double seconds) {
  const Clock::time_point start = Clock::now();
  while (has_backlog() && seconds_since(start) < seconds) {
    std::vector<pollfd> waiting;
    for (const Peer& state : peers_) {
      if (state.link == nullptr || !state.link->has_backlog()) continue;
      waiting.push_back({.fd = state.link->descriptor(), .events = POLLOUT, .revents = 0});
    }
    lock.unlock();
    ::poll(waiting.data(), waiting.size(), kPumpMs);
    lock.lock();
    for (int peer = 0; peer < size(); ++peer) {
      Peer& state = peers_[static_cast<std::size_t>(peer)];
      if (state.link != nullptr && state.link->has_backlog()) state.link->write();
      update_events(peer);
    }
  }
}

void Mesh::close(double flush_s) {
  pump_.request_stop();
  if (pump_.joinable()) pump_.join();
  Lock lock(mutex_);
  if (closed_) return;
  closed_ = true;
  Frame goodbye;
  goodbye.kind = Kind::kGoodbye;
  for (const Peer& state : peers_) {
    if (state.link == nullptr || state.link->lost()) continue;
    state.link->send_notice(goodbye, {});
    state.link->write();
  }
  flush_for(lock, flush_s);
  for (int peer = 0; peer < size(); ++peer) {
    Peer& state = peers_[static_cast<std::size_t>(peer)];
    if (state.link == nullptr) continue;
    state.link->lose("this side has closed the connection");
    on_peer_lost(peer);
  }
}

}  // namespace elevon::net

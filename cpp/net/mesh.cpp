// Slots, groups and what arrives. Calls and waiting: mesh_run.cpp.

#include "net/mesh.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace elevon::net {
namespace {

// A group that others use before it is opened here costs memory; more of them are a defect.
constexpr std::int64_t kMostUnopened = 65536;
// Late notices for groups that are over are told from those for groups to come.
constexpr std::size_t kMostForgotten = 65536;
// What one peer may send ahead of anybody who waits for it; then it waits, by TCP's own means.
constexpr std::int64_t kMostKept = 64 << 20;
constexpr double kFlushAtEndS = 1.0;

int checked(int result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

}  // namespace

Mesh::Mesh(int self, int size, std::function<void()> look_up, bool shares_memory)
    : self_(self),
      shares_memory_(shares_memory),
      epoll_(checked(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")),
      wake_(checked(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd")),
      look_up_(std::move(look_up)),
      peers_(static_cast<std::size_t>(std::max(size, 0))) {
  if (self < 0 || self >= size) {
    throw std::invalid_argument("slot " + std::to_string(self) + " of a mesh of " +
                                std::to_string(size));
  }
  epoll_event event{.events = EPOLLIN, .data = {.fd = -1}};
  checked(::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event), "epoll_ctl");
}

Mesh::~Mesh() {
  close(kFlushAtEndS);
  ::close(wake_);
  ::close(epoll_);
}

void Mesh::attach(int peer, int descriptor, std::string name) {
  auto link = std::make_unique<Link>(peer, descriptor, std::move(name));
  const Lock lock(mutex_);
  if (closed_) throw std::invalid_argument("the mesh is closed");
  if (peer < 0 || peer >= size() || peer == self_) {
    throw std::invalid_argument("slot " + std::to_string(peer) + " cannot be attached to slot " +
                                std::to_string(self_) + " of a mesh of " + std::to_string(size()));
  }
  Peer& state = peers_[static_cast<std::size_t>(peer)];
  if (state.link != nullptr) {
    state.link->lose("its slot was taken by another process");
    on_peer_lost(peer);
  }
  state.link = std::move(link);
  state.loss_reported = false;
  state.costs.reset();
  state.events = EPOLLIN;
  epoll_event event{.events = EPOLLIN, .data = {.fd = peer}};
  checked(::epoll_ctl(epoll_, EPOLL_CTL_ADD, descriptor, &event), "epoll_ctl");
  wake();
}

std::vector<std::pair<int, std::string>> Mesh::lost() {
  const Lock lock(mutex_);
  std::vector<std::pair<int, std::string>> result;
  for (int peer = 0; peer < size(); ++peer) {
    const auto& link = peers_[static_cast<std::size_t>(peer)].link;
    if (link != nullptr && link->lost()) result.emplace_back(peer, link->loss());
  }
  return result;
}

GroupPtr Mesh::open(GroupId id, const std::vector<int>& peers, const std::string& name,
                    const GroupPtr& parent) {
  const Lock lock(mutex_);
  for (const int peer : peers) {
    if (peer < 0 || peer >= size()) {
      throw std::invalid_argument("a mesh of " + std::to_string(size()) + " has no slot " +
                                  std::to_string(peer));
    }
  }
  if (std::ranges::find(peers, self_) == peers.end()) {
    throw std::invalid_argument("slot " + std::to_string(self_) + " is no member of group " + name);
  }
  const GroupPtr group = find_or_make(id);
  if (group->is_open()) {
    if (group->peers() == peers) return group;
    throw std::invalid_argument("group " + name + " is open with other members");
  }
  --unopened_;
  measure();
  group->open(peers, self_, name, parent);
  for (const int peer : peers) {
    if (peer == self_) continue;
    announce(peer);
    const Peer& state = peers_[static_cast<std::size_t>(peer)];
    if (state.link == nullptr) group->lose(peer, "it is not connected", false);
    if (state.link != nullptr && state.link->lost()) {
      group->lose(peer, state.link->loss(), state.link->dismissed());
    }
  }
  return group;
}

void Mesh::assume(const Costs& costs) {
  const Lock lock(mutex_);
  if (!costs.sound()) throw std::invalid_argument("costs are finite, and not negative");
  if (costs_) throw std::invalid_argument("costs are told to the peers with the first group");
  costs_ = costs;
}

void Mesh::forget(GroupId id) {
  const Lock lock(mutex_);
  std::erase_if(groups_, [&](const auto& entry) {
    const bool goes = id.path == 0 ? entry.first.context == id.context : entry.first == id;
    if (goes) entry.second->drop_inbox();
    if (goes && !entry.second->is_open()) --unopened_;
    return goes;
  });
  if (!forgotten_.insert(id).second) return;
  forgotten_order_.push_back(id);
  if (forgotten_order_.size() > kMostForgotten) {
    forgotten_.erase(forgotten_order_.front());
    forgotten_order_.pop_front();
  }
}

Group* Mesh::find(GroupId id) {
  const auto found = groups_.find(id);
  return found == groups_.end() ? nullptr : found->second.get();
}

GroupPtr Mesh::find_or_make(GroupId id) {
  GroupPtr& group = groups_[id];
  if (group == nullptr) {
    group = std::make_shared<Group>(id);
    ++unopened_;
  }
  return group;
}

bool Mesh::is_forgotten(GroupId id) const {
  return forgotten_.contains(id) || forgotten_.contains({id.context, 0});
}

void Mesh::interrupt(GroupId id, Failure failure) {
  const Lock lock(mutex_);
  if (find(id) == nullptr && is_forgotten(id)) return;
  find_or_make(id)->fail(std::move(failure));
  wake();
}

std::optional<Failure> Mesh::failure(const Group& group) {
  const Lock lock(mutex_);
  const Failure* found = group.failure();
  return found == nullptr ? std::nullopt : std::optional<Failure>(*found);
}

std::vector<std::pair<int, std::string>> Mesh::losses(const Group& group) {
  const Lock lock(mutex_);
  std::vector<std::pair<int, std::string>> result;
  for (const Loss& loss : group.losses())
    result.emplace_back(group.rank_of(loss.peer), loss.reason);
  return result;
}

InboundPtr Mesh::begin(int peer, const Frame& frame) {
  const auto& account = peers_[static_cast<std::size_t>(peer)].kept;
  Group* group = find(frame.group);
  if (frame.kind == Kind::kNotice || static_cast<std::uint32_t>(frame.kind) >= kCollectives) {
    const bool whole = frame.offset == 0 && frame.size == frame.total;
    if (!whole || frame.total > kLongestReason) return nullptr;
    return std::make_shared<Inbound>(frame, account);
  }
  if (group == nullptr && is_forgotten(frame.group)) {
    auto message = std::make_shared<Inbound>(frame, account);
    message->discard();
    return message;
  }
  if (group == nullptr) {
    if (unopened_ >= kMostUnopened) return nullptr;
    group = find_or_make(frame.group).get();
  }
  return group->begin(peer, frame, account);
}

void Mesh::end(int peer, const InboundPtr& message) {
  const Frame& head = message->head();
  if (static_cast<std::uint32_t>(head.kind) >= kCollectives) return handle_control(peer, *message);
  if (head.kind != Kind::kNotice) {
    if (head.offered != 0) offers_.emplace_back(peer, message);
    if (Group* group = find(head.group); group != nullptr) group->end(peer);
    return;
  }
  if (find(head.group) == nullptr && (is_forgotten(head.group) || unopened_ >= kMostUnopened)) {
    return;
  }
  std::string reason(static_cast<std::size_t>(head.total), '\0');
  Receive text;
  text.head = head;
  text.data = reinterpret_cast<std::byte*>(reason.data());
  message->bind(&text);
  const auto kind = static_cast<FailureKind>(std::min<std::uint64_t>(head.call, 2));
  find_or_make(head.group)->fail({kind, std::move(reason), head.root});
  wake();
}

// Carries out what a peer says about the connection itself.
void Mesh::handle_control(int peer, Inbound& message) {
  Link& link = *peers_[static_cast<std::size_t>(peer)].link;
  Sample sample;
  Costs costs;
  std::uint64_t token = 0;
  switch (message.head().kind) {
    case Kind::kGoodbye: return link.dismiss();
    case Kind::kCosts:
      if (!message.copy_to(std::as_writable_bytes(std::span(&costs, 1))) || !costs.sound()) {
        return link.lose("it said that messages cost what they cannot");
      }
      peers_[static_cast<std::size_t>(peer)].costs = costs;
      return;
    case Kind::kReadable: return link.offer_large();
    case Kind::kTaken:
      if (message.copy_to(std::as_writable_bytes(std::span(&token, 1)))) link.taken(token);
      return;
    case Kind::kSample:
      if (!message.copy_to(std::as_writable_bytes(std::span(&sample, 1)))) return;
      if (!shares_memory_ || !holds(sample.process, sample.word, sample.value)) return;
      link.can_read(sample.process);
      return answer(peer, Kind::kReadable, {});
    default: return;
  }
}

// Finds this process's costs out. They are told to every peer, and to none two different ones.
void Mesh::measure() {
  if (costs_) return;
  costs_.emplace();
  for (const Peer& state : peers_) {
    if (state.link == nullptr || state.link->lost()) continue;
    costs_ = slower(*costs_, measured_on(state.link->descriptor()));
  }
}

// Tells a peer, once, what messages cost here and how to try whether it can read our memory.
void Mesh::announce(int peer) {
  const auto& link = peers_[static_cast<std::size_t>(peer)].link;
  if (link == nullptr || link->lost() || !link->announce()) return;
  answer(peer, Kind::kCosts, std::as_bytes(std::span(&*costs_, 1)));
  if (!shares_memory_ || link->lost()) return;
  const Sample sample{static_cast<std::uint64_t>(::getpid()),
                      reinterpret_cast<std::uint64_t>(&sample_), sample_};
  answer(peer, Kind::kSample, std::as_bytes(std::span(&sample, 1)));
}

void Mesh::answer(int peer, Kind kind, std::span<const std::byte> payload) {
  Link& link = *peers_[static_cast<std::size_t>(peer)].link;
  Frame head;
  head.kind = kind;
  link.send_notice(head, payload);
  link.write();
  update_events(peer);
}

// Brings what epoll watches a link for in line with what it can do.
void Mesh::update_events(int peer) {
  Peer& state = peers_[static_cast<std::size_t>(peer)];
  if (state.link == nullptr) return;
  if (state.link->lost()) return on_peer_lost(peer);
  const std::uint32_t in = *state.kept > kMostKept ? 0U : static_cast<std::uint32_t>(EPOLLIN);
  const std::uint32_t out = state.link->has_backlog() ? static_cast<std::uint32_t>(EPOLLOUT) : 0U;
  if (state.events == (in | out)) return;
  state.events = in | out;
  epoll_event event{.events = state.events, .data = {.fd = peer}};
  checked(::epoll_ctl(epoll_, EPOLL_CTL_MOD, state.link->descriptor(), &event), "epoll_ctl");
}

void Mesh::on_peer_lost(int peer) {
  Peer& state = peers_[static_cast<std::size_t>(peer)];
  if (state.loss_reported) return;
  state.loss_reported = true;
  state.events = 0;
  std::erase_if(offers_, [&](const auto& offer) { return offer.first == peer; });
  for (auto& [id, group] : groups_) {
    group->lose(peer, state.link->loss(), state.link->dismissed());
  }
  wake();
}

void Mesh::wake() const {
  const std::uint64_t one = 1;
  // A full counter is as good as one more: the descriptor is readable either way.
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof one);
}

}  // namespace elevon::net

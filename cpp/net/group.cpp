#include "net/group.hpp"

#include <algorithm>

namespace elevon::net {

void Group::open(std::vector<int> peers, int self, std::string name, GroupPtr parent) {
  peers_ = std::move(peers);
  name_ = std::move(name);
  parent_ = std::move(parent);
  rank_ = rank_of(self);
  std::erase_if(losses_, [&](const Loss& loss) { return rank_of(loss.peer) < 0; });
  std::erase_if(lanes_, [&](const auto& entry) { return rank_of(entry.first) < 0; });
}

int Group::rank_of(int peer) const {
  const auto found = std::ranges::find(peers_, peer);
  return found == peers_.end() ? -1 : static_cast<int>(found - peers_.begin());
}

const Failure* Group::failure() const {
  for (const Group* group = this; group != nullptr; group = group->parent_.get()) {
    if (group->failure_) return &*group->failure_;
  }
  return nullptr;
}

bool Group::fail(Failure failure) {
  if (failure_) return false;
  failure_ = std::move(failure);
  drop_inbox();
  return true;
}

void Group::drop_inbox() {
  for (auto& [peer, lane] : lanes_) {
    for (const InboundPtr& message : lane.inbox) message->discard();
    lane.inbox.clear();
  }
}

void Group::lose(int peer, const std::string& reason, bool left) {
  const bool ours = is_open() ? rank_of(peer) >= 0 : true;
  if (ours && loss_of(peer) == nullptr) {
    losses_.push_back({peer, reason, left, Clock::now()});
  }
  if (const auto lane = lanes_.find(peer); lane != lanes_.end()) lane->second.unfinished.reset();
}

const Loss* Group::loss_of(int peer) const {
  const auto found = std::ranges::find(losses_, peer, &Loss::peer);
  return found == losses_.end() ? nullptr : &*found;
}

InboundPtr Group::begin(int peer, const Frame& frame,
                        const std::shared_ptr<std::int64_t>& account) {
  if (is_open() && rank_of(peer) < 0) return nullptr;
  Lane& lane = lanes_[peer];
  if (lane.unfinished != nullptr) {
    const bool continues =
        agree(lane.unfinished->head(), frame) && lane.unfinished->received() == frame.offset;
    return continues ? lane.unfinished : nullptr;
  }
  const auto message = std::make_shared<Inbound>(frame, account);
  // The rest of a message that was given up here, see fail and abandon.
  if (failure() != nullptr || frame.offset != 0) {
    message->discard();
    return failure() != nullptr ? message : nullptr;
  }
  lane.unfinished = message;
  if (lane.waiting.empty()) {
    lane.inbox.push_back(message);
  } else {
    Receive* receive = lane.waiting.front();
    lane.waiting.pop_front();
    match(peer, message, receive);
  }
  return message;
}

void Group::end(int peer) {
  const auto lane = lanes_.find(peer);
  if (lane == lanes_.end() || lane->second.unfinished == nullptr) return;
  const Inbound& message = *lane->second.unfinished;
  if (message.complete() || message.head().offered != 0) lane->second.unfinished.reset();
}

void Group::expect(int peer, Receive* receive) {
  Lane& lane = lanes_[peer];
  if (lane.inbox.empty()) {
    lane.waiting.push_back(receive);
    return;
  }
  const InboundPtr message = lane.inbox.front();
  lane.inbox.pop_front();
  match(peer, message, receive);
}

void Group::abandon(int peer, const Receive* receive) {
  Lane& lane = lanes_[peer];
  std::erase(lane.waiting, receive);
  if (const InboundPtr message = receive->message.lock(); message != nullptr) message->discard();
}

void Group::match(int peer, const InboundPtr& message, Receive* receive) {
  if (agree(receive->head, message->head())) {
    receive->message = message;
    message->bind(receive);
    return;
  }
  mismatch_ = Mismatch{peer, receive->head, message->head()};
  message->discard();
}

}  // namespace elevon::net

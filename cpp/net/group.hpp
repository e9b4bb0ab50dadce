// One group as a tag space over the mesh: matches what arrives with what is waited for.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "net/costs.hpp"
#include "net/failure.hpp"
#include "net/message.hpp"

namespace elevon::net {

using Clock = std::chrono::steady_clock;

// A member that is gone for good as far as this group goes; its slot in the mesh may be filled.
struct Loss {
  int peer = -1;
  std::string reason;
  bool left = false;  // on purpose: what it had to do for a call that was begun, it has done
  Clock::time_point at;
};

// What a member sent instead of what was waited for.
struct Mismatch {
  int peer = -1;
  Frame wanted;
  Frame came;
};

class Group {
 public:
  // A message or a notice may come before the group is opened here: so it begins without members.
  explicit Group(GroupId id) : id_(id) {}

  // peers[r] is the slot of rank r in the mesh; `self` is the caller's.
  void open(std::vector<int> peers, int self, std::string name, std::shared_ptr<Group> parent);

  [[nodiscard]] const GroupId& id() const { return id_; }
  [[nodiscard]] bool is_open() const { return !peers_.empty(); }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::vector<int>& peers() const { return peers_; }
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return static_cast<int>(peers_.size()); }
  // The rank of a slot in the mesh, or -1.
  [[nodiscard]] int rank_of(int peer) const;

  // What ended this group or one that it was split from, or nullptr.
  [[nodiscard]] const Failure* failure() const;
  // Ends it; false where it had ended before. What arrives from now on is dropped.
  bool fail(Failure failure);

  // A member's connection is gone.
  void lose(int peer, const std::string& reason, bool left);
  [[nodiscard]] const std::vector<Loss>& losses() const { return losses_; }
  [[nodiscard]] const Loss* loss_of(int peer) const;

  // How many collectives were begun; all members count alike.
  std::uint64_t calls = 0;
  // What all members have agreed on, once they have.
  std::optional<Costs> costs;

  // The message that this frame belongs to; nullptr where it fits nowhere. A message that is not
  // the one that is waited for is left to `mismatch`.
  InboundPtr begin(int peer, const Frame& frame, const std::shared_ptr<std::int64_t>& account);
  void end(int peer);
  // Fills the receive with the next message from this peer, now or as it comes.
  void expect(int peer, Receive* receive);
  // Nobody waits for these any more.
  void abandon(int peer, const Receive* receive);
  // Drops what nobody has asked for.
  void drop_inbox();
  // The mismatch since the last look.
  [[nodiscard]] std::optional<Mismatch> take_mismatch() {
    return std::exchange(mismatch_, std::nullopt);
  }

 private:
  // From one peer: messages arrive, and are waited for, in order.
  struct Lane {
    std::deque<InboundPtr> inbox;
    std::deque<Receive*> waiting;
    InboundPtr unfinished;
  };

  void match(int peer, const InboundPtr& message, Receive* receive);

  GroupId id_;
  std::string name_;
  std::vector<int> peers_;
  int rank_ = -1;
  std::shared_ptr<Group> parent_;
  std::optional<Failure> failure_;
  std::vector<Loss> losses_;
  std::unordered_map<int, Lane> lanes_;
  std::optional<Mismatch> mismatch_;
};

using GroupPtr = std::shared_ptr<Group>;

}  // namespace elevon::net

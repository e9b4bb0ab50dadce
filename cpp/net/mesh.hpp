// The connected sockets of one rank, and the one loop that moves everything over them.
//
// There is no thread that makes progress: the thread that waits moves the bytes of all calls.
// Several threads may wait at once. Two small exceptions: what a failed call leaves half sent is
// finished by a thread that exists only from then on, and any thread may end a group.
#pragma once

#include <sys/epoll.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "net/costs.hpp"
#include "net/group.hpp"
#include "net/link.hpp"

namespace elevon::net {

// One collective of one member.
struct Call {
  Kind kind = Kind::kBarrier;
  int root = -1;  // or -1 where there is none
  std::optional<double> timeout_s;
  std::uint16_t what = 0;  // a reduction's code
  Clock::time_point start = Clock::now();
};

// What goes out and comes in at once; ranks are of the group.
struct Outgoing {
  int rank = 0;
  std::span<const std::byte> bytes;
};
struct Incoming {
  int rank = 0;
  std::span<std::byte> bytes;
};
// Both ends of a message give it the same step. What is `then` to be done, when all of the round is
// there and before the next one, is done with nothing locked.
struct Round {
  std::uint16_t step = 0;
  std::vector<Outgoing> sends;
  std::vector<Incoming> receives;
  std::vector<std::function<void()>> then = {};
};

// What a call waits for.
class Awaited {
 public:
  Awaited() = default;
  Awaited(const Awaited&) = delete;
  Awaited& operator=(const Awaited&) = delete;
  virtual ~Awaited() = default;
  [[nodiscard]] virtual bool done() const = 0;
  // The slots that something is still to come from or to go to, each once.
  [[nodiscard]] virtual std::vector<int> pending() const = 0;
};

class Mesh final : public Sink {
 public:
  // `size` slots, of which the caller has `self`. `look_up` is called, with nothing locked,
  // whenever a wait was interrupted or has lasted long; it may throw, which ends the group.
  // Without `shares_memory` all bytes go through the sockets, also between ranks of one host.
  Mesh(int self, int size, std::function<void()> look_up, bool shares_memory);
  ~Mesh() override;

  [[nodiscard]] int self() const { return self_; }
  [[nodiscard]] int size() const { return static_cast<int>(peers_.size()); }

  // Takes a connected stream socket over, as the connection to a slot. Groups that had lost the
  // member there have lost it for good. Throws std::invalid_argument.
  void attach(int peer, int descriptor, std::string name);
  // The slots whose connection is gone, with the reason; those never attached have none.
  [[nodiscard]] std::vector<std::pair<int, std::string>> lost();

  // Makes a group of these slots, which are its ranks in order; no word to the others. One that
  // is open is returned. Throws std::invalid_argument.
  GroupPtr open(GroupId id, const std::vector<int>& peers, const std::string& name,
                const GroupPtr& parent);
  // Takes these costs for this process's own, instead of measuring them; before the first group.
  // Throws std::invalid_argument.
  void assume(const Costs& costs);
  // What messages cost between the members of a group, the same for all of them: the slowest's. It
  // is known from what each has said once to each peer, so only a first meeting has to wait.
  // Throws GroupFailed.
  [[nodiscard]] Costs costs_of(Group& group, const Call& call);
  // Forgets a group; with path 0 also all that were split from it.
  void forget(GroupId id);

  // Carries out the rounds of one collective, one after another. Throws GroupFailed.
  void run(Group& group, const Call& call, std::span<const Round> rounds);
  // Ends a group and tells the other members.
  void abort(Group& group, const Failure& failure);
  // Ends a group here, open or still to be opened, and tells nobody.
  void interrupt(GroupId id, Failure failure);
  [[nodiscard]] std::optional<Failure> failure(const Group& group);
  // The ranks that are lost, with the reason.
  [[nodiscard]] std::vector<std::pair<int, std::string>> losses(const Group& group);

  // Closes all connections, after at most this many seconds for what is still to be sent.
  void close(double flush_s);

  InboundPtr begin(int peer, const Frame& frame) override;
  void end(int peer, const InboundPtr& message) override;

 private:
  using Lock = std::unique_lock<std::mutex>;
  struct Peer {
    std::unique_ptr<Link> link;
    std::shared_ptr<std::int64_t> kept = std::make_shared<std::int64_t>(0);
    std::optional<Costs> costs;  // what the peer has said
    std::uint32_t events = 0;    // what epoll watches it for
    bool loss_reported = false;  // its loss was made known to the groups
  };
  class Exchange;
  class Announcements;
  class Caller;

  Group* find(GroupId id);
  GroupPtr find_or_make(GroupId id);
  [[nodiscard]] bool is_forgotten(GroupId id) const;
  [[nodiscard]] std::string whose(const Group& group, int rank) const;

  void wait(Lock& lock, Group& group, const Call& call, const Awaited& awaited);
  void spin(Lock& lock, const Awaited& awaited);
  void touch(int peer);
  void check(Group& group, const Call& call, const Awaited& awaited);
  [[noreturn]] void fail(Group& group, const Failure& failure);
  [[noreturn]] void fail_mismatch(Group& group, const Call& call, const Mismatch& mismatch);
  [[noreturn]] void fail_lost(Group& group, const Call& call, const Loss& loss);
  [[noreturn]] void fail_late(Group& group, const Call& call, const std::vector<int>& pending);
  void look_up(Lock& lock, Group& group);
  void tell(const Group& group, const Failure& failure);

  // Copies what peers on this host offer; whether there is more to copy.
  bool copy_offers();
  [[nodiscard]] bool has_offers() const;
  bool copy_offer(int peer, Inbound& message);
  void measure();
  void announce(int peer);
  void handle_control(int peer, Inbound& message);
  void answer(int peer, Kind kind, std::span<const std::byte> payload);
  bool poll(Lock& lock, int timeout_ms);
  void serve(const epoll_event& event);
  void update_events(int peer);
  void on_peer_lost(int peer);
  void wake() const;

  [[nodiscard]] bool has_backlog() const;
  void hand_over_backlog();
  void pump(const std::stop_token& stop);
  void flush_for(Lock& lock, double seconds);

  int self_;
  bool shares_memory_;
  int epoll_;
  int wake_;
  std::function<void()> look_up_;
  std::mutex mutex_;
  std::vector<Peer> peers_;
  std::unordered_map<GroupId, GroupPtr, GroupIdHash> groups_;
  std::vector<std::pair<int, InboundPtr>> offers_;
  const std::uint64_t sample_ = new_token();
  std::int64_t unopened_ = 0;
  std::unordered_set<GroupId, GroupIdHash> forgotten_;
  std::deque<GroupId> forgotten_order_;
  std::optional<Costs> costs_;
  int callers_ = 0;
  Clock::time_point spins_again_;
  bool polls_ = false;  // some thread does
  std::condition_variable moved_;
  bool closed_ = false;
  std::condition_variable_any backlog_;
  std::jthread pump_;
};

}  // namespace elevon::net

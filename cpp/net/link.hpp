// One connected stream socket to a peer: cuts messages into frames and puts them together again.
//
// Nothing here blocks. A link that is lost stays so; its reason is what the groups report.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "net/message.hpp"

namespace elevon::net {

// Who takes what arrives.
class Sink {
 public:
  Sink() = default;
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  virtual ~Sink() = default;
  // The message that a frame is part of, or nullptr where the frame breaks the protocol.
  virtual InboundPtr begin(int peer, const Frame& frame) = 0;
  // All of a frame's payload has arrived.
  virtual void end(int peer, const InboundPtr& message) = 0;
};

class Link {
 public:
  // Takes the descriptor over; it is closed here in every case.
  Link(int peer, int descriptor, std::string name);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool lost() const { return !loss_.empty(); }
  [[nodiscard]] const std::string& loss() const { return loss_; }
  // The peer said that it leaves.
  [[nodiscard]] bool dismissed() const { return dismissed_; }
  void dismiss() { dismissed_ = true; }
  // Bytes are ready to be sent, but the kernel took no more.
  [[nodiscard]] bool has_backlog() const;

  // The message has to live until it is done, or withdrawn.
  void send(Send* message) { messages_.push_back(message); }
  // The peer can read this process's memory: large messages are offered from now on.
  void offer_large() { offers_ = true; }
  // The peer has read what was offered with this token.
  void taken(std::uint64_t token);
  // The process whose memory can be read here, or 0.
  [[nodiscard]] std::uint64_t process() const { return process_; }
  void can_read(std::uint64_t process) { process_ = process; }
  // Whether this call is the first.
  [[nodiscard]] bool announce() { return !std::exchange(announced_, true); }
  // Overtakes messages; the link keeps it.
  void send_notice(const Frame& head, std::span<const std::byte> payload);
  // Sends no more of it. What is left of a frame that has begun is copied: its header has
  // promised it.
  void withdraw(const Send* message);

  // Moves what can be moved without waiting.
  void write();
  void read(Sink& sink);
  // Closes the socket.
  void lose(std::string reason);

 private:
  // The frame that is being written.
  struct Leaving {
    Frame head;
    const std::byte* data = nullptr;
    std::int64_t written = 0;  // of header and payload
    Send* message = nullptr;   // whose memory `data` is, unless `own` holds it
    std::vector<std::byte> own;
    [[nodiscard]] std::int64_t size() const { return kHeaderBytes + head.size; }
  };

  // A message that the peer may read until its word is 0.
  struct Offered {
    Send* message = nullptr;
    std::uint64_t token = 0;
    std::atomic<std::uint64_t> word = 0;
  };

  void make_offer(Send* message);
  bool next_frame();
  bool write_some();
  void frame_is_out();
  bool read_some(Sink& sink);
  void take(Sink& sink, std::int64_t direct, std::int64_t staged);
  bool take_header(Sink& sink, const std::byte* bytes);
  void frame_is_in(Sink& sink);
  void fail_errno();

  int peer_;
  int descriptor_;
  std::string name_;
  std::string loss_;
  bool dismissed_ = false;
  bool mute_ = false;  // the peer reads no more; what it sent before may still be here

  bool offers_ = false;
  bool announced_ = false;
  std::uint64_t process_ = 0;
  std::deque<Send*> messages_;
  std::list<Offered> offered_;
  std::deque<Leaving> notices_;
  std::unique_ptr<Leaving> leaving_;

  std::vector<std::byte> staged_;
  std::int64_t staged_size_ = 0;
  InboundPtr message_;     // of the frame that is being read
  std::int64_t left_ = 0;  // of its payload
};

}  // namespace elevon::net

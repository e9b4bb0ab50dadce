// Why a group can do nothing more.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace elevon::net {

enum class FailureKind : std::uint32_t { kAborted = 0, kLost = 1, kTimeout = 2 };

struct Failure {
  FailureKind kind = FailureKind::kAborted;
  std::string reason;  // the sentence that the user reads
  int rank = -1;       // the group rank to blame, or -1 where it is not known
};

// Thrown by every call on a group that has failed.
class GroupFailed : public std::runtime_error {
 public:
  explicit GroupFailed(Failure failure)
      : std::runtime_error(failure.reason), failure_(std::move(failure)) {}
  [[nodiscard]] const Failure& failure() const { return failure_; }

 private:
  Failure failure_;
};

}  // namespace elevon::net

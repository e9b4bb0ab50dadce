// Reading the memory of a peer on the same host: one copy, by the kernel, instead of two through a
// socket.
//
// An offer says where a message lies, and where a word lies that holds the offer's token for as
// long as the message may be read. The reader looks at the word after it has copied: if the token
// is still there, nobody had taken the memory back, and nobody else has the sender's process id.
// Tokens are never used twice, so whatever else may lie at that address by then is no token.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elevon::net {

struct Offer {
  std::uint64_t data = 0;
  std::uint64_t word = 0;
  std::uint64_t token = 0;
};

// What a process says so that others can try whether they may read it.
struct Sample {
  std::uint64_t process = 0;
  std::uint64_t word = 0;
  std::uint64_t value = 0;
};

// A number that this process has not used before, never 0, that others cannot guess.
[[nodiscard]] std::uint64_t new_token();
// Copies from another process; false where the kernel refuses or the memory is not there.
[[nodiscard]] bool read_memory(std::uint64_t process, std::uint64_t address, std::byte* target,
                               std::int64_t size);
// Whether a word there has this value.
[[nodiscard]] bool holds(std::uint64_t process, std::uint64_t address, std::uint64_t value);

}  // namespace elevon::net

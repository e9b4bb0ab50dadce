#include "net/memory.hpp"

#include <sys/uio.h>

#include <atomic>
#include <bit>
#include <random>

namespace elevon::net {

std::uint64_t new_token() {
  static std::atomic<std::uint64_t> next = [] {
    std::random_device device;
    return (static_cast<std::uint64_t>(device()) << 32) ^ device();
  }();
  const std::uint64_t token = next++;
  return token == 0 ? next++ : token;
}

bool read_memory(std::uint64_t process, std::uint64_t address, std::byte* target,
                 std::int64_t size) {
  std::int64_t done = 0;
  while (done < size) {
    const auto left = static_cast<std::size_t>(size - done);
    const iovec here{target + done, left};
    // The other process's address: never followed here.
    const iovec there{std::bit_cast<void*>(address + static_cast<std::uint64_t>(done)), left};
    const ssize_t count = ::process_vm_readv(static_cast<pid_t>(process), &here, 1, &there, 1, 0);
    if (count <= 0) return false;
    done += count;
  }
  return true;
}

bool holds(std::uint64_t process, std::uint64_t address, std::uint64_t value) {
  std::uint64_t found = 0;
  return read_memory(process, address, reinterpret_cast<std::byte*>(&found), sizeof found) &&
         found == value;
}

}  // namespace elevon::net

// The form of a packed message, private to pack and unpack of one version.
//
// A message is one frame or more (more only where 32-bit offsets would overflow in one). A frame
// is a header, a table of nodes, a table of buffers, and the buffers, each at a multiple of 64
// bytes from the frame's start; frames are multiples of 64 bytes long. Nodes stand depth first in
// the order of the schema: each array, then its children, then its dictionary. A node's buffers
// are the validity (size 0: no nulls), the layout's two at most, and a view's data buffers.
// Numbers are little-endian 64-bit. A frame of no rows has neither nodes nor buffers.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/base/buffer.hpp"

namespace elevon::kernel {

struct FrameHeader {
  std::uint64_t magic;
  std::int64_t bytes;  // of the whole frame
  std::int64_t rows;
  std::int64_t nodes;
  std::int64_t buffers;
  std::int64_t unused[3];
};
static_assert(sizeof(FrameHeader) == 64);

struct FrameNode {
  std::int64_t length;
  std::int64_t null_count;
  std::int64_t data_buffers;  // of Layout::Views
};

struct FrameBuffer {
  std::int64_t offset;
  std::int64_t size;
};

// "ELEVON", then the version of this form.
inline constexpr std::uint64_t kFrameMagic = 0x4E4F56454C450001ULL;

// Rows packed into one piece of memory.
struct Message {
  Buffer bytes;
  std::int64_t num_rows = 0;
};

// A view addresses 2^31 bytes of its data buffer, so the data buffers of a message overlap: buffer
// k holds the long strings' bytes from k * 2^30 on, as far as a view can reach, and a string at
// position p belongs to buffer p / 2^30. So no string is ever cut, and positions are known before
// anything is written.
inline constexpr std::int64_t kViewStride = std::int64_t{1} << 30;

// A frame as it is planned: nodes and buffers in order. When all are there, `bytes` is known, the
// frame has a place, and its buffers can be filled.
class FrameLayout {
 public:
  explicit FrameLayout(std::int64_t rows) : rows_(rows) {}

  // Returns the node's number.
  std::size_t add_node(std::int64_t length, std::int64_t null_count);
  // Returns the buffer's number.
  std::size_t add_buffer(std::int64_t size);
  // Adds the data buffers for so many bytes of long views and counts them in the node. Returns the
  // first buffer's number: all of the bytes begin there. See kViewStride.
  std::size_t add_view_data(std::size_t node, std::int64_t bytes);
  void set_null_count(std::size_t node, std::int64_t null_count);

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t bytes() const;
  // Where buffer `index` lies in the frame that starts at `frame`.
  [[nodiscard]] std::byte* at(std::byte* frame, std::size_t index) const;
  // Writes header and tables; the bytes between buffers become zeros.
  void write(std::byte* frame) const;

 private:
  [[nodiscard]] std::int64_t tables_bytes() const;

  std::int64_t rows_;
  std::vector<FrameNode> nodes_;
  std::vector<FrameBuffer> buffers_;  // offsets count from the end of the tables
  std::vector<FrameBuffer> regions_;  // the memory itself: no two overlap
  std::int64_t payload_ = 0;
};

// A received message: its bytes and who keeps them.
struct Received {
  std::span<const std::byte> bytes;
  arrow::Owner owner;
};

// The table of all messages in order, laid over their bytes (those not aligned to 8 are copied).
// Throws std::invalid_argument on anything that this version did not write for these fields.
[[nodiscard]] arrow::Table unpack(const std::vector<arrow::Field>& fields,
                                  const std::vector<Received>& messages);

}  // namespace elevon::kernel

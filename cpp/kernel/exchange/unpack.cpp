// Reads packed messages, which may come from anywhere: nothing in them is believed unchecked.

#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "arrow/import.hpp"
#include "kernel/exchange/message.hpp"

namespace elevon::kernel {
namespace {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Layout;
using arrow::Type;
using Bytes = std::span<const std::byte>;

[[noreturn]] void malformed(const std::string& what) {
  throw std::invalid_argument("malformed packed message: " + what);
}

// Reads the arrays of one frame, node by node, buffer by buffer.
class FrameReader {
 public:
  FrameReader(Bytes frame, const FrameHeader& header, const arrow::Owner& owner)
      : frame_(frame), header_(header), owner_(owner) {}

  std::vector<ArrayPtr> read(const std::vector<arrow::Field>& fields) {
    check_tables();
    std::vector<ArrayPtr> columns;
    for (const arrow::Field& field : fields) {
      columns.push_back(read_array(field.type));
      if (columns.back()->length != header_.rows) malformed("a column has not the frame's rows");
    }
    if (next_node_ != header_.nodes || next_buffer_ != header_.buffers) {
      malformed("it holds more than the schema says");
    }
    return columns;
  }

 private:
  void check_tables() const {
    const auto space = static_cast<std::int64_t>(frame_.size() - sizeof(FrameHeader));
    const auto node_size = static_cast<std::int64_t>(sizeof(FrameNode));
    const auto buffer_size = static_cast<std::int64_t>(sizeof(FrameBuffer));
    if (header_.nodes < 0 || header_.nodes > space / node_size || header_.buffers < 0 ||
        header_.buffers > (space - header_.nodes * node_size) / buffer_size) {
      malformed("its tables are longer than it is");
    }
  }

  template <typename T>
  T read_entry(std::int64_t index, std::int64_t start) const {
    T entry;
    const std::int64_t at = start + index * static_cast<std::int64_t>(sizeof(T));
    std::memcpy(&entry, frame_.data() + at, sizeof entry);
    return entry;
  }

  FrameNode take_node() {
    if (next_node_ >= header_.nodes) malformed("it holds less than the schema says");
    const auto node = read_entry<FrameNode>(next_node_++, sizeof(FrameHeader));
    if (node.length < 0 || node.length > arrow::kMaxRows || node.null_count < 0 ||
        node.null_count > node.length || node.data_buffers < 0 ||
        node.data_buffers > header_.buffers) {
      malformed("a length is out of range");
    }
    return node;
  }

  Bytes take_buffer() {
    if (next_buffer_ >= header_.buffers) malformed("it holds less than the schema says");
    const std::int64_t start = static_cast<std::int64_t>(sizeof(FrameHeader)) +
                               header_.nodes * static_cast<std::int64_t>(sizeof(FrameNode));
    const auto buffer = read_entry<FrameBuffer>(next_buffer_++, start);
    const auto space = static_cast<std::int64_t>(frame_.size());
    if (buffer.offset < 0 || buffer.size < 0 || buffer.offset % 8 != 0 ||
        buffer.offset > space - buffer.size || buffer.size > space) {
      malformed("a buffer lies outside of it");
    }
    return frame_.subspan(static_cast<std::size_t>(buffer.offset),
                          static_cast<std::size_t>(buffer.size));
  }

  // A buffer of at least `count` elements of `width` bytes.
  Bytes take_buffer(std::int64_t count, std::int64_t width) {
    const Bytes buffer = take_buffer();
    std::int64_t needed = 0;
    if (__builtin_mul_overflow(count, width, &needed) || std::ssize(buffer) < needed) {
      malformed("a buffer is shorter than its rows");
    }
    return buffer;
  }

  ArrayPtr read_array(const arrow::TypePtr& type) {
    const FrameNode node = take_node();
    auto array = std::make_shared<Array>(*arrow::empty_array(type));
    array->length = node.length;
    array->owners.push_back(owner_);
    read_validity(*array, node);
    read_buffers(*array, node);
    for (std::size_t index = 0; index < type->children.size(); ++index) {
      array->children[index] = read_array(type->children[index].type);
    }
    if (type->layout == Layout::Dictionary) array->dictionary = read_array(type->dictionary);
    arrow::clear_null_views(*array);
    validate(*array);
    check_bytes(*array);
    return array;
  }

  void read_validity(Array& array, const FrameNode& node) {
    if (array.type->layout == Layout::Null) {
      array.null_count = node.length;
      return;
    }
    const bool nulls = node.null_count > 0;
    const Bytes bits = take_buffer(nulls ? (node.length + 7) / 8 : 0, 1);
    if (!nulls) return;
    const auto* validity = reinterpret_cast<const std::uint8_t*>(bits.data());
    array.null_count = arrow::count_zeros(validity, 0, node.length);
    if (array.null_count > 0) array.validity = validity;
  }

  void read_buffers(Array& array, const FrameNode& node) {
    const std::int64_t rows = node.length;
    switch (array.type->layout) {
      case Layout::Null:
      case Layout::Struct:
      case Layout::FixedList: return;
      case Layout::Bits: return set(array, 0, take_buffer((rows + 7) / 8, 1));
      case Layout::Fixed:
      case Layout::Dictionary: return set(array, 0, take_buffer(rows, array.type->width));
      case Layout::Offsets32: return read_offsets(array, rows, 4, true);
      case Layout::Offsets64: return read_offsets(array, rows, 8, true);
      case Layout::List32: return read_offsets(array, rows, 4, false);
      case Layout::List64: return read_offsets(array, rows, 8, false);
      case Layout::ListViews32: return read_list_views(array, rows, 4);
      case Layout::ListViews64: return read_list_views(array, rows, 8);
      case Layout::Views: return read_views(array, node);
    }
  }

  static void set(Array& array, std::size_t index, Bytes buffer) {
    if (!buffer.empty()) array.buffers[index] = buffer.data();
  }

  void read_offsets(Array& array, std::int64_t rows, std::int64_t width, bool bytes) {
    set(array, 0, take_buffer(rows == 0 ? 0 : rows + 1, width));
    if (bytes) set(array, 1, bytes_ = take_buffer());
  }

  void read_list_views(Array& array, std::int64_t rows, std::int64_t width) {
    set(array, 0, take_buffer(rows, width));
    set(array, 1, take_buffer(rows, width));
  }

  void read_views(Array& array, const FrameNode& node) {
    set(array, 0, take_buffer(node.length, sizeof(arrow::View)));
    for (std::int64_t index = 0; index < node.data_buffers; ++index) {
      array.data_buffers.push_back(take_buffer());
    }
  }

  // Offsets ascend (validate has seen to it), so the last one is the farthest.
  void check_bytes(const Array& array) const {
    if (array.length == 0) return;
    std::int64_t end = 0;
    if (array.type->layout == Layout::Offsets32) end = array.values<std::int32_t>()[array.length];
    if (array.type->layout == Layout::Offsets64) end = array.values<std::int64_t>()[array.length];
    if (end > std::ssize(bytes_)) malformed("a string ends behind its bytes");
  }

  Bytes frame_;
  const FrameHeader& header_;
  const arrow::Owner& owner_;
  std::int64_t next_node_ = 0;
  std::int64_t next_buffer_ = 0;
  Bytes bytes_;  // of the array with offsets that was read last
};

FrameHeader read_header(Bytes rest) {
  FrameHeader header;
  if (rest.size() < sizeof header) malformed("it is cut off");
  std::memcpy(&header, rest.data(), sizeof header);
  if (header.magic != kFrameMagic) malformed("not a message of this version");
  if (header.bytes < static_cast<std::int64_t>(sizeof header) || header.bytes > std::ssize(rest) ||
      header.bytes % 64 != 0) {
    malformed("its length is wrong");
  }
  if (header.rows < 0 || header.rows > arrow::kMaxRows) malformed("its rows are out of range");
  if (header.rows == 0 && (header.nodes != 0 || header.buffers != 0)) {
    malformed("it holds more than its rows");
  }
  return header;
}

// Memory that is not aligned to its words is copied once, as a whole.
Received aligned(const Received& message) {
  if (std::bit_cast<std::uintptr_t>(message.bytes.data()) % alignof(std::int64_t) == 0) {
    return message;
  }
  Buffer copy(std::ssize(message.bytes));
  std::memcpy(copy.data(), message.bytes.data(), message.bytes.size());
  const arrow::Memory memory = share(std::move(copy));
  return {{memory.data, message.bytes.size()}, memory.owner};
}

// Collects the chunks of every column, frame by frame; returns the number of rows.
std::int64_t read_message(const Received& message, const std::vector<arrow::Field>& fields,
                          std::vector<std::vector<ArrayPtr>>& chunks) {
  std::int64_t rows = 0;
  Bytes rest = message.bytes;
  do {
    const FrameHeader header = read_header(rest);
    const Bytes frame = rest.first(static_cast<std::size_t>(header.bytes));
    if (header.rows > 0) {
      const auto columns = FrameReader(frame, header, message.owner).read(fields);
      for (std::size_t index = 0; index < fields.size(); ++index) {
        chunks[index].push_back(columns[index]);
      }
      rows += header.rows;
      if (rows > arrow::kMaxRows) malformed("its rows are out of range");
    }
    rest = rest.subspan(frame.size());
  } while (!rest.empty());
  return rows;
}

}  // namespace

arrow::Table unpack(const std::vector<arrow::Field>& fields,
                    const std::vector<Received>& messages) {
  std::vector<std::vector<ArrayPtr>> chunks(fields.size());
  std::int64_t rows = 0;
  for (const Received& message : messages) {
    rows += read_message(aligned(message), fields, chunks);
    if (rows > arrow::kMaxRows) malformed("its rows are out of range");
  }
  std::vector<arrow::Column> columns;
  for (std::size_t index = 0; index < fields.size(); ++index) {
    columns.emplace_back(fields[index], std::move(chunks[index]));
  }
  return {std::move(columns), rows};
}

}  // namespace elevon::kernel

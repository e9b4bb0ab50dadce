// Packs slices of tables: a frame is planned by walking the types, then filled buffer by buffer.

#include "kernel/exchange/pack.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernel/base/bits.hpp"
#include "kernel/base/config.hpp"
#include "kernel/exchange/compact.hpp"
#include "kernel/exchange/pack_bytes.hpp"
#include "kernel/take/gather.hpp"

namespace elevon::kernel {
namespace {

using arrow::Array;
using arrow::ArrayPtr;
using arrow::Layout;
using Pieces = std::vector<ArrayPtr>;

// Whether the rows' dictionary is far larger than what the rows can use of it.
bool has_idle_entries(const arrow::Type& type, const Pieces& pieces) {
  // Parts of an ordered dictionary would not tell its order to those who put them together.
  if (type.layout != Layout::Dictionary || pieces.empty() || is_ordered(type)) return false;
  const ArrayPtr& dictionary = pieces.front()->dictionary;
  const std::int64_t rows = total_length(pieces);
  if (dictionary->length > config::kIdleEntries * rows) return true;
  FrameLayout layout(dictionary->length);
  std::vector<FillTask> unused;
  plan_column(layout, type.dictionary, {dictionary}, unused);
  return layout.bytes() > config::kIdleBytes * rows;
}

// Walks one column's type; a class because every step adds to the same frame and task list.
class ColumnPlanner {
 public:
  ColumnPlanner(FrameLayout& layout, std::vector<FillTask>& tasks)
      : layout_(layout), tasks_(tasks) {}

  void plan(const arrow::TypePtr& type, Pieces pieces) {
    if (type->layout == Layout::ListViews32 || type->layout == Layout::ListViews64) {
      pieces = {compact_list_views(type, pieces)};
    }
    if (has_idle_entries(*type, pieces)) pieces = compact_dictionaries(std::move(pieces));
    const std::size_t node = layout_.add_node(total_length(pieces), total_nulls(pieces));
    if (type->layout != Layout::Null) plan_validity(pieces);
    if (type->layout == Layout::Views) {
      plan_views(node, pieces);
    } else {
      plan_buffers(*type, pieces);
    }
    plan_children(*type, pieces);
  }

 private:
  void add(std::int64_t size, std::function<void(std::byte*)> fill) {
    tasks_.push_back({layout_.add_buffer(size), std::move(fill)});
  }

  void plan_validity(const Pieces& pieces) {
    if (total_nulls(pieces) == 0) {
      layout_.add_buffer(0);
      return;
    }
    add((total_length(pieces) + 63) / 64 * 8, [pieces](std::byte* out) {
      BitWriter writer(out);
      for (const ArrayPtr& piece : pieces) {
        writer.append(piece->validity, piece->offset, piece->length);
      }
      writer.finish();
    });
  }

  void plan_buffers(const arrow::Type& type, const Pieces& pieces) {
    switch (type.layout) {
      case Layout::Null:
      case Layout::Views:
      case Layout::Struct:
      case Layout::FixedList: return;
      case Layout::Bits: return plan_bits(pieces);
      case Layout::Fixed:
      case Layout::Dictionary: return plan_values(pieces, type.width, 0);
      case Layout::Offsets32: return plan_strings<std::int32_t>(pieces);
      case Layout::Offsets64: return plan_strings<std::int64_t>(pieces);
      case Layout::List32: return plan_offsets<std::int32_t>(pieces);
      case Layout::List64: return plan_offsets<std::int64_t>(pieces);
      case Layout::ListViews32: return plan_list_views(pieces, 4);
      case Layout::ListViews64: return plan_list_views(pieces, 8);
    }
  }

  void plan_bits(const Pieces& pieces) {
    add((total_length(pieces) + 63) / 64 * 8, [pieces](std::byte* out) {
      BitWriter writer(out);
      for (const ArrayPtr& piece : pieces) {
        writer.append(reinterpret_cast<const std::uint8_t*>(piece->buffers[0]), piece->offset,
                      piece->length);
      }
      writer.finish();
    });
  }

  void plan_values(const Pieces& pieces, std::int64_t width, std::size_t buffer) {
    add(total_length(pieces) * width, [pieces, width, buffer](std::byte* out) {
      for (const ArrayPtr& piece : pieces) {
        const std::int64_t bytes = piece->length * width;
        std::memcpy(out, piece->buffers[buffer] + piece->offset * width,
                    static_cast<std::size_t>(bytes));
        out += bytes;
      }
    });
  }

  // The one compact array has offsets from zero on, so they travel as they are.
  void plan_list_views(const Pieces& pieces, std::int64_t width) {
    plan_values(pieces, width, 0);
    plan_values(pieces, width, 1);
  }

  template <typename Offset>
  void plan_offsets(const Pieces& pieces) {
    if (spanned<Offset>(pieces) > std::numeric_limits<Offset>::max()) throw OffsetOverflow{};
    const std::int64_t entries = total_length(pieces) == 0 ? 0 : total_length(pieces) + 1;
    add(entries * static_cast<std::int64_t>(sizeof(Offset)),
        [pieces](std::byte* out) { fill_rebased<Offset>(pieces, out); });
  }

  template <typename Offset>
  void plan_strings(const Pieces& pieces) {
    plan_offsets<Offset>(pieces);
    add(spanned<Offset>(pieces), [pieces](std::byte* out) { fill_bytes<Offset>(pieces, out); });
  }

  void plan_views(std::size_t node, const Pieces& pieces) {
    add(total_length(pieces) * static_cast<std::int64_t>(sizeof(arrow::View)),
        [pieces](std::byte* out) { fill_views(pieces, out); });
    const std::int64_t bytes = long_bytes(pieces);
    const std::size_t first = layout_.add_view_data(node, bytes);
    if (bytes == 0) return;
    tasks_.push_back({first, [pieces](std::byte* out) { fill_long_bytes(pieces, out); }});
  }

  void plan_children(const arrow::Type& type, const Pieces& pieces) {
    for (std::size_t index = 0; index < type.children.size(); ++index) {
      plan(type.children[index].type, children_of(pieces, index));
    }
    if (type.layout != Layout::Dictionary) return;
    plan(type.dictionary, pieces.empty() ? Pieces{} : Pieces{pieces.front()->dictionary});
  }

  FrameLayout& layout_;
  std::vector<FillTask>& tasks_;
};

struct PlannedFrame {
  FrameLayout layout;
  std::vector<FillTask> tasks;
};

PlannedFrame plan_frame(const arrow::Table& table, Range rows) {
  PlannedFrame frame{FrameLayout(rows.size()), {}};
  if (rows.size() == 0) return frame;
  for (const arrow::Column& column : table.columns()) {
    plan_column(frame.layout, column.field().type, pieces_of(column, rows), frame.tasks);
  }
  return frame;
}

// Frames of the rows: halves where one would outgrow its 32-bit offsets.
void plan_frames(const arrow::Table& table, Range rows, std::vector<PlannedFrame>& frames) {
  try {
    frames.push_back(plan_frame(table, rows));
    return;
  } catch (const OffsetOverflow&) {
    if (rows.size() < 2) throw std::invalid_argument("one row outgrows its 32-bit offsets");
  }
  const std::int64_t middle = rows.begin + rows.size() / 2;
  plan_frames(table, {rows.begin, middle}, frames);
  plan_frames(table, {middle, rows.end}, frames);
}

}  // namespace

void plan_column(FrameLayout& layout, const arrow::TypePtr& type, Pieces pieces,
                 std::vector<FillTask>& tasks) {
  ColumnPlanner(layout, tasks).plan(type, std::move(pieces));
}

Pieces pieces_of(const arrow::Column& column, Range rows) {
  Pieces pieces;
  const auto& starts = column.starts();
  for (std::size_t index = 0; index < column.chunks().size(); ++index) {
    const std::int64_t begin = std::max(rows.begin, starts[index]);
    const std::int64_t end = std::min(rows.end, starts[index + 1]);
    if (begin < end) {
      pieces.push_back(slice(column.chunks()[index], begin - starts[index], end - begin));
    }
  }
  return pieces;
}

Message pack_rows(const arrow::Table& table, Range rows) {
  std::vector<PlannedFrame> frames;
  plan_frames(table, rows, frames);
  std::int64_t bytes = 0;
  for (const PlannedFrame& frame : frames) bytes += frame.layout.bytes();
  Message message{Buffer(bytes), rows.size()};
  std::byte* at = message.bytes.data();
  for (const PlannedFrame& frame : frames) {
    frame.layout.write(at);
    for (const FillTask& task : frame.tasks) task.fill(frame.layout.at(at, task.buffer));
    at += frame.layout.bytes();
  }
  return message;
}

std::int64_t packed_bytes(const arrow::Table& table) {
  std::vector<PlannedFrame> frames;
  plan_frames(table, {0, table.num_rows()}, frames);
  std::int64_t bytes = 0;
  for (const PlannedFrame& frame : frames) bytes += frame.layout.bytes();
  return bytes;
}

std::vector<Message> pack_slices(const arrow::Table& table, std::span<const std::int64_t> bounds) {
  if (bounds.empty()) throw std::invalid_argument("pack_slices needs at least one bound");
  std::vector<Message> messages;
  for (std::size_t index = 0; index + 1 < bounds.size(); ++index) {
    const Range rows{bounds[index], bounds[index + 1]};
    if (rows.begin < 0 || rows.end < rows.begin || rows.end > table.num_rows()) {
      throw std::invalid_argument("bounds must ascend within the table's " +
                                  std::to_string(table.num_rows()) + " rows");
    }
    messages.push_back(pack_rows(table, rows));
  }
  return messages;
}

}  // namespace elevon::kernel

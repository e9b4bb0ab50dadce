// Registers Packed, both partitions, pack_slices and unpack. Signatures: elevon/_native.pyi.

#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

#include "bindings/capsule.hpp"
#include "bindings/register.hpp"
#include "kernel/exchange/message.hpp"
#include "kernel/exchange/pack.hpp"
#include "kernel/exchange/partition.hpp"

namespace elevon::bindings {
namespace {

using Packed = std::vector<std::unique_ptr<kernel::Message>>;

Packed own_messages(std::vector<kernel::Message> messages) {
  Packed owned;
  for (kernel::Message& message : messages) {
    owned.push_back(std::make_unique<kernel::Message>(std::move(message)));
  }
  return owned;
}

Packed partition(const py::object& source, const std::vector<std::int64_t>& columns, int partitions,
                 int threads) {
  const TablePtr table = import_table(source);
  check_threads(threads);
  const py::gil_scoped_release released;
  const auto keys = columns_at(*table, columns);
  return own_messages(kernel::partition(*table, keys, partitions, threads));
}

Packed partition_numbered(const py::object& source, const py::buffer& numbers, int partitions,
                          int threads) {
  const TablePtr table = import_table(source);
  check_threads(threads);
  const py::buffer_info info = numbers.request();
  if (info.ndim != 1 || info.format != py::format_descriptor<std::uint16_t>::format() ||
      info.strides[0] != info.itemsize) {
    throw std::invalid_argument("numbers must be one contiguous dimension of uint16");
  }
  const std::span<const std::uint16_t> given(static_cast<const std::uint16_t*>(info.ptr),
                                             static_cast<std::size_t>(info.size));
  const py::gil_scoped_release released;
  return own_messages(kernel::partition_numbered(*table, given, partitions, threads));
}

Packed pack_slices(const py::object& source, const std::vector<std::int64_t>& bounds) {
  const TablePtr table = import_table(source);
  const py::gil_scoped_release released;
  return own_messages(kernel::pack_slices(*table, bounds));
}

std::int64_t packed_bytes(const py::object& source) {
  const TablePtr table = import_table(source);
  const py::gil_scoped_release released;
  return kernel::packed_bytes(*table);
}

// Gives a message's buffer back to Python. The last array over it may be released by any thread,
// also after the interpreter has ended, when there is nobody left to give it to.
void release_buffer(Py_buffer* buffer) {
  if (Py_IsInitialized() != 0) {
    const py::gil_scoped_acquire acquired;
    PyBuffer_Release(buffer);
  }
  delete buffer;
}

kernel::Received receive(const py::handle& message) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(message.ptr(), view.get(), PyBUF_SIMPLE) != 0) {
    throw py::error_already_set();
  }
  const std::shared_ptr<Py_buffer> owner(view.release(), release_buffer);
  return {{static_cast<const std::byte*>(owner->buf), static_cast<std::size_t>(owner->len)}, owner};
}

TablePtr unpack(const py::object& schema, const py::sequence& messages) {
  const std::vector<arrow::Field> fields = import_fields(schema);
  std::vector<kernel::Received> received;
  for (const py::handle message : messages) received.push_back(receive(message));
  const py::gil_scoped_release released;
  return make_table(kernel::unpack(fields, received));
}

// Read-only: a message must stay what it was when it was sized.
py::buffer_info message_buffer(kernel::Message& message) {
  return py::buffer_info(message.bytes.as<std::uint8_t>(), message.bytes.size(), true);
}

}  // namespace

void register_pack(py::module_& module) {
  py::class_<kernel::Message>(module, "Packed", py::buffer_protocol())
      .def_readonly("num_rows", &kernel::Message::num_rows)
      .def_property_readonly("nbytes",
                             [](const kernel::Message& message) { return message.bytes.size(); })
      .def_buffer(&message_buffer);
  module.def("partition", &partition, py::arg("table"), py::arg("columns"), py::arg("partitions"),
             py::arg("threads") = 1);
  module.def("partition_numbered", &partition_numbered, py::arg("table"), py::arg("numbers"),
             py::arg("partitions"), py::arg("threads") = 1);
  module.def("pack_slices", &pack_slices, py::arg("table"), py::arg("bounds"));
  module.def("packed_bytes", &packed_bytes, py::arg("table"));
  module.def("unpack", &unpack, py::arg("schema"), py::arg("messages"));
}

}  // namespace elevon::bindings

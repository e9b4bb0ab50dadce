// Registers Mesh and Group: collectives over connected sockets. Signatures: elevon/_native.pyi.

#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/register.hpp"
#include "net/reductions.hpp"

namespace elevon::bindings {
namespace {

namespace py = pybind11;

using Failed = std::tuple<std::string, std::string, std::optional<int>>;
using Parts = std::vector<std::pair<int, py::buffer>>;

constexpr std::array<const char*, 3> kFailures = {"aborted", "lost", "timeout"};

// A group and the mesh that it needs alive.
struct Handle {
  std::shared_ptr<net::Mesh> mesh;
  net::GroupPtr group;
};

void look_up() {
  const py::gil_scoped_acquire acquired;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

net::Failure failure_of(const std::string& kind, std::string reason, std::optional<int> rank) {
  for (std::uint32_t i = 0; i < kFailures.size(); ++i) {
    if (kind == kFailures[i]) {
      return {static_cast<net::FailureKind>(i), std::move(reason), rank.value_or(-1)};
    }
  }
  throw std::invalid_argument("a failure is aborted, lost or timeout, not " + kind);
}

std::optional<Failed> describe(const std::optional<net::Failure>& failure) {
  if (!failure) return std::nullopt;
  const auto rank = failure->rank < 0 ? std::nullopt : std::optional<int>(failure->rank);
  return Failed{kFailures[static_cast<std::size_t>(failure->kind)], failure->reason, rank};
}

net::Kind kind_of(const std::string& name) {
  for (std::uint32_t i = 1; i < net::kCollectives; ++i) {
    if (name == net::name_of(static_cast<net::Kind>(i))) return static_cast<net::Kind>(i);
  }
  throw std::invalid_argument("there is no collective " + name);
}

// A contiguous buffer of bytes, held while C++ uses it.
class View {
 public:
  View(const py::buffer& buffer, bool writable) : info_(buffer.request(writable)) {
    py::ssize_t expected = info_.itemsize;
    for (auto i = static_cast<std::size_t>(info_.ndim); i-- > 0;) {
      if (info_.shape[i] > 1 && info_.strides[i] != expected) {
        throw std::invalid_argument("the buffer is not contiguous");
      }
      expected *= info_.shape[i];
    }
  }
  [[nodiscard]] net::Room room() const {
    return {static_cast<std::byte*>(info_.ptr),
            static_cast<std::size_t>(info_.size * info_.itemsize)};
  }

 private:
  py::buffer_info info_;
};

net::Room room_of(const std::optional<View>& view) {
  return view ? view->room() : net::Room{};
}

std::optional<View> view_of(const std::optional<py::buffer>& buffer, bool writable) {
  return buffer ? std::optional<View>(std::in_place, *buffer, writable) : std::nullopt;
}

void barrier(const Handle& self, std::optional<double> timeout_s) {
  const py::gil_scoped_release released;
  net::barrier(*self.mesh, *self.group, {net::Kind::kBarrier, -1, timeout_s});
}

void bcast(const Handle& self, const py::buffer& data, int root, std::optional<double> timeout_s) {
  const View view(data, true);
  const py::gil_scoped_release released;
  net::bcast(*self.mesh, *self.group, {net::Kind::kBcast, root, timeout_s}, view.room());
}

void gather(const Handle& self, const py::buffer& mine, const std::optional<py::buffer>& rows,
            int root, std::optional<double> timeout_s) {
  const View out(mine, false);
  const auto in = view_of(rows, true);
  const py::gil_scoped_release released;
  net::gather(*self.mesh, *self.group, {net::Kind::kGather, root, timeout_s}, out.room(),
              room_of(in));
}

void scatter(const Handle& self, const std::optional<py::buffer>& rows, const py::buffer& mine,
             int root, std::optional<double> timeout_s) {
  const auto out = view_of(rows, false);
  const View in(mine, true);
  const py::gil_scoped_release released;
  net::scatter(*self.mesh, *self.group, {net::Kind::kScatter, root, timeout_s}, room_of(out),
               in.room());
}

void allgather(const Handle& self, const py::buffer& mine, const py::buffer& rows,
               std::optional<double> timeout_s) {
  const View out(mine, false);
  const View in(rows, true);
  const py::gil_scoped_release released;
  net::allgather(*self.mesh, *self.group, {net::Kind::kAllgather, -1, timeout_s}, out.room(),
                 in.room());
}

void allgatherv(const Handle& self, const std::vector<py::buffer>& rows,
                std::optional<double> timeout_s) {
  const net::Call call{net::Kind::kAllgatherv, -1, timeout_s};
  const auto own = static_cast<std::size_t>(self.group->rank());
  std::vector<View> views;
  std::vector<net::Room> rooms;
  for (std::size_t rank = 0; rank < rows.size(); ++rank) {
    rooms.push_back(views.emplace_back(rows[rank], rank != own).room());
  }
  const py::gil_scoped_release released;
  net::allgatherv(*self.mesh, *self.group, call, rooms);
}

void alltoall(const Handle& self, const py::buffer& rows, const py::buffer& result,
              std::optional<double> timeout_s) {
  const View out(rows, false);
  const View in(result, true);
  const py::gil_scoped_release released;
  net::alltoall(*self.mesh, *self.group, {net::Kind::kAlltoall, -1, timeout_s}, out.room(),
                in.room());
}

void exchange(const Handle& self, const std::string& what, const Parts& sends,
              const Parts& receives, int root, std::optional<double> timeout_s) {
  const net::Call call{kind_of(what), root, timeout_s};
  std::vector<View> views;
  views.reserve(sends.size() + receives.size());
  std::vector<net::Outgoing> outgoing;
  std::vector<net::Incoming> incoming;
  for (const auto& [rank, buffer] : sends) {
    outgoing.push_back({rank, views.emplace_back(buffer, false).room()});
  }
  for (const auto& [rank, buffer] : receives) {
    incoming.push_back({rank, views.emplace_back(buffer, true).room()});
  }
  const py::gil_scoped_release released;
  net::exchange(*self.mesh, *self.group, call, outgoing, incoming);
}

// The member of an enumeration that has this name.
template <typename Named>
Named named(const std::string& name, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    if (name == net::name_of(static_cast<Named>(i))) return static_cast<Named>(i);
  }
  throw std::invalid_argument("the engine cannot reduce by or of " + name);
}

using Reduce = void (*)(net::Mesh&, net::Group&, net::Call, net::Reduction, net::Bytes, net::Room,
                        net::Room);

void run_reduction(const Handle& self, const std::string& what, const std::string& op,
                   const std::string& type, const py::buffer& mine,
                   const std::optional<py::buffer>& result, const py::buffer& room, int root,
                   std::optional<double> timeout_s) {
  const net::Call call{kind_of(what), root, timeout_s};
  const net::Reduction reduction{named<net::Op>(op, net::kOps),
                                 named<net::Type>(type, net::kTypes)};
  const View out(mine, false);
  const auto in = view_of(result, true);
  const View between(room, true);
  const Reduce run = call.kind == net::Kind::kReduce      ? net::reduce
                     : call.kind == net::Kind::kAllreduce ? net::allreduce
                     : call.kind == net::Kind::kScan      ? net::scan
                                                          : net::reduce_scatter;
  const py::gil_scoped_release released;
  run(*self.mesh, *self.group, call, reduction, out.room(), room_of(in), between.room());
}

std::size_t room_for(const Handle& self, const std::string& what, std::size_t bytes,
                     std::optional<double> timeout_s) {
  const net::Call call{kind_of(what), -1, timeout_s};
  const py::gil_scoped_release released;
  return net::room_for(*self.mesh, *self.group, call, bytes);
}

std::string algorithm(const Handle& self, const std::string& what, std::size_t bytes,
                      std::optional<double> timeout_s) {
  const net::Call call{kind_of(what), -1, timeout_s};
  const py::gil_scoped_release released;
  return net::name_of(net::algorithm_of(*self.mesh, *self.group, call, bytes));
}

std::tuple<double, double, double> costs(const Handle& self, std::optional<double> timeout_s) {
  const py::gil_scoped_release released;
  const net::Call call{net::Kind::kBarrier, -1, timeout_s};
  const net::Costs agreed = self.mesh->costs_of(*self.group, call);
  return {agreed.alpha_s, agreed.overhead_s, agreed.beta_s_per_byte};
}

Handle open(const std::shared_ptr<net::Mesh>& mesh, std::uint64_t context, std::uint64_t path,
            const std::vector<int>& peers, const std::string& name, const Handle* parent) {
  const py::gil_scoped_release released;
  return {mesh,
          mesh->open({context, path}, peers, name, parent == nullptr ? nullptr : parent->group)};
}

void register_mesh(py::module_& module) {
  using net::Mesh;
  const py::call_guard<py::gil_scoped_release> released;
  py::class_<Mesh, std::shared_ptr<Mesh>>(module, "Mesh")
      .def(py::init([](int self, int size, bool shares_memory) {
             return std::make_shared<Mesh>(self, size, look_up, shares_memory);
           }),
           py::arg("own_slot"), py::arg("size"), py::arg("shares_memory") = true)
      .def_property_readonly("slot", &Mesh::self)
      .def_property_readonly("size", &Mesh::size)
      .def("attach", &Mesh::attach, py::arg("slot"), py::arg("descriptor"), py::arg("name"),
           released)
      .def("lost", &Mesh::lost, released)
      .def(
          "assume",
          [](Mesh& self, double alpha_s, double overhead_s, double beta_s_per_byte) {
            self.assume({alpha_s, overhead_s, beta_s_per_byte});
          },
          py::arg("alpha_s"), py::arg("overhead_s"), py::arg("beta_s_per_byte"), released)
      .def("open", &open, py::arg("context"), py::arg("path"), py::arg("slots"), py::arg("name"),
           py::arg("parent") = nullptr)
      .def(
          "forget",
          [](Mesh& self, std::uint64_t context, std::uint64_t path) {
            self.forget({context, path});
          },
          py::arg("context"), py::arg("path") = 0, released)
      .def(
          "interrupt",
          [](Mesh& self, std::uint64_t context, const std::string& kind, std::string reason,
             std::optional<int> rank) {
            self.interrupt({context, 0}, failure_of(kind, std::move(reason), rank));
          },
          py::arg("context"), py::arg("kind"), py::arg("reason"), py::arg("rank"), released)
      .def("close", &Mesh::close, py::arg("flush_s") = 1.0, released);
}

void register_group(py::module_& module) {
  const auto timeout = py::arg("timeout_s");
  py::class_<Handle>(module, "Group")
      .def_property_readonly("rank", [](const Handle& self) { return self.group->rank(); })
      .def_property_readonly("size", [](const Handle& self) { return self.group->size(); })
      .def_property_readonly("failure",
                             [](const Handle& self) {
                               const py::gil_scoped_release released;
                               return describe(self.mesh->failure(*self.group));
                             })
      .def_property_readonly("losses",
                             [](const Handle& self) {
                               const py::gil_scoped_release released;
                               return self.mesh->losses(*self.group);
                             })
      .def(
          "fail",
          [](const Handle& self, const std::string& kind, std::string reason,
             std::optional<int> rank) {
            self.mesh->abort(*self.group, failure_of(kind, std::move(reason), rank));
          },
          py::arg("kind"), py::arg("reason"), py::arg("rank"),
          py::call_guard<py::gil_scoped_release>())
      .def("barrier", &barrier, timeout)
      .def("bcast", &bcast, py::arg("data"), py::arg("root"), timeout)
      .def("gather", &gather, py::arg("mine"), py::arg("rows"), py::arg("root"), timeout)
      .def("scatter", &scatter, py::arg("rows"), py::arg("mine"), py::arg("root"), timeout)
      .def("allgather", &allgather, py::arg("mine"), py::arg("rows"), timeout)
      .def("allgatherv", &allgatherv, py::arg("rows"), timeout)
      .def("alltoall", &alltoall, py::arg("rows"), py::arg("result"), timeout)
      .def("exchange", &exchange, py::arg("what"), py::arg("sends"), py::arg("receives"),
           py::arg("root"), timeout)
      .def("reduction", &run_reduction, py::arg("what"), py::arg("op"), py::arg("type"),
           py::arg("mine"), py::arg("result"), py::arg("room"), py::arg("root"), timeout)
      .def("room_for", &room_for, py::arg("what"), py::arg("bytes"), timeout)
      .def("algorithm", &algorithm, py::arg("what"), py::arg("bytes"), timeout)
      .def("costs", &costs, timeout);
}

}  // namespace

void register_net(py::module_& module) {
  py::register_exception<net::GroupFailed>(module, "GroupFailed", PyExc_RuntimeError);
  register_mesh(module);
  register_group(module);
}

}  // namespace elevon::bindings

// Fuzz target for whatever comes in from outside: Arrow streams, and the messages of other ranks.
//
// Any input ends in one of two ways: it is refused with std::invalid_argument, or all kernels run
// on it. A crash, a sanitizer's report, another exception or a struct that was not released is a
// defect. With clang it is a libFuzzer target (-fsanitize=fuzzer -DELEVON_LIBFUZZER); without it
// has a driver of its own:
//
//     fuzz_import SECONDS [SEED]    random inputs until the time is up
//     fuzz_import --replay FILE...  inputs that were kept

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "arrow/table.hpp"
#include "kernel/exchange/message.hpp"
#include "kernel/exchange/pack.hpp"
#include "kernel/exchange/partition.hpp"
#include "kernel/join/join.hpp"
#include "kernel/keys/hash.hpp"
#include "kernel/sort/sort.hpp"
#include "kernel/take/take.hpp"
#include "tests/hostile_stream.hpp"

namespace elevon::tests {
namespace {

using arrow::Column;
using arrow::Table;

struct Tally {
  std::int64_t inputs = 0;
  std::int64_t imported = 0;
  std::int64_t rows = 0;
  std::int64_t messages_read = 0;
};
Tally tally;

[[noreturn]] void defect(const char* what) {
  std::fprintf(stderr, "defect: %s\n", what);
  std::abort();
}

// Runs `work`; a refusal is a right answer.
template <typename F>
void refusable(F&& work) {
  try {
    work();
  } catch (const std::invalid_argument&) {
    return;
  }
}

void read_back(const Table& table) {
  arrow::UniqueStream stream = arrow::export_stream(table);
  const Table again = arrow::import_stream(std::move(stream));
  if (again.num_rows() != table.num_rows()) defect("a table has other rows when it comes back");
}

std::vector<arrow::Field> fields_of(const Table& table) {
  std::vector<arrow::Field> fields;
  for (const Column& column : table.columns()) fields.push_back(column.field());
  return fields;
}

// A message as it was, and with some of its bytes changed.
void exchange(const Table& table, Dice& dice) {
  const kernel::Message message = kernel::pack_rows(table, {0, table.num_rows()});
  const auto* bytes = reinterpret_cast<const std::byte*>(message.bytes.data());
  const auto size = static_cast<std::size_t>(message.bytes.size());
  const auto read = [&](std::vector<std::byte> copy) {
    const auto owner = std::make_shared<std::vector<std::byte>>(std::move(copy));
    const Table got = kernel::unpack(fields_of(table), {{{owner->data(), owner->size()}, owner}});
    ++tally.messages_read;
    read_back(got);
    return got.num_rows();
  };
  if (read({bytes, bytes + size}) != table.num_rows()) defect("a message loses rows");
  for (int damage = dice.below(4); damage > 0; --damage) {
    std::vector<std::byte> copy(bytes, bytes + size);
    for (int count = 1 + dice.below(3); count > 0 && size > 0; --count) {
      const auto at = (static_cast<std::size_t>(dice.byte()) << 8 | dice.byte()) % size;
      copy[at] = std::byte{dice.byte()};
    }
    if (dice.once_in(4))
      copy.resize(copy.size() - static_cast<std::size_t>(dice.below(64)) % (size + 1));
    refusable([&] { read(std::move(copy)); });
  }
}

void run_kernels(const Table& table, Dice& dice) {
  ++tally.imported;
  tally.rows += table.num_rows();
  read_back(table);
  refusable([&] { exchange(table, dice); });
  if (table.columns().empty()) return;
  const auto width = static_cast<int>(table.columns().size());
  const int threads = 1 + dice.below(2);
  const std::int64_t key = dice.below(width);
  const std::vector<const Column*> keys = {&table.column(key)};
  refusable([&] { static_cast<void>(kernel::hash_rows(keys, threads)); });
  refusable([&] { static_cast<void>(kernel::partition(table, keys, 1 + dice.below(5), threads)); });
  refusable([&] {
    const std::vector<kernel::KeySpec> order = {{key, dice.once_in(2), dice.once_in(2)}};
    read_back(kernel::sort(table, order, threads));
  });
  refusable([&] {
    kernel::JoinSpec spec;
    spec.left_on = spec.right_on = {key};
    spec.how = static_cast<kernel::JoinType>(dice.below(4));
    spec.output = {{kernel::JoinSide::Key, 0, "k"}, {kernel::JoinSide::Right, key, "r"}};
    spec.nulls_equal = dice.once_in(2);
    spec.threads = threads;
    read_back(kernel::hash_join(table, table, spec));
  });
  refusable([&] {
    std::vector<std::int64_t> rows;
    for (int count = dice.below(20); count > 0 && table.num_rows() > 0; --count) {
      rows.push_back(dice.byte() % table.num_rows());
    }
    read_back(kernel::gather(table, kernel::Rows(std::span<const std::int64_t>(rows)), threads));
  });
}

}  // namespace

void run_one(const std::uint8_t* data, std::size_t size) {
  ++tally.inputs;
  Dice dice(data, size);
  HostileStream hostile(dice);
  refusable(
      [&] { run_kernels(arrow::import_stream(arrow::UniqueStream(hostile.stream())), dice); });
  if (!hostile.all_released()) defect("a struct was not released, or twice");
}

}  // namespace elevon::tests

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  elevon::tests::run_one(data, size);
  return 0;
}

#ifndef ELEVON_LIBFUZZER

namespace {

using Bytes = std::vector<std::uint8_t>;

// Where a crash leaves its input, to be replayed.
constexpr const char* kLast = "fuzz_import.last";

void keep(const Bytes& input) {
  std::ofstream file(kLast, std::ios::binary);
  file.write(reinterpret_cast<const char*>(input.data()), std::ssize(input));
}

Bytes read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "%s cannot be read\n", path);
    std::exit(2);
  }
  return {std::istreambuf_iterator<char>(file), {}};
}

void run_for(double seconds, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (std::chrono::steady_clock::now() < end) {
    Bytes input(random() % 1500);
    for (auto& byte : input) byte = static_cast<std::uint8_t>(random());
    keep(input);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::remove(kLast);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "--replay") == 0) {
    for (int at = 2; at < argc; ++at) {
      const Bytes input = read_file(argv[at]);
      LLVMFuzzerTestOneInput(input.data(), input.size());
    }
  } else if (argc == 2 || argc == 3) {
    run_for(std::stod(argv[1]), argc == 3 ? std::stoull(argv[2]) : 1);
  } else {
    std::fprintf(stderr, "fuzz_import SECONDS [SEED] | --replay FILE...\n");
    return 2;
  }
  const auto& tally = elevon::tests::tally;
  std::printf("%lld inputs: %lld tables of %lld rows imported, %lld messages read, no defect\n",
              static_cast<long long>(tally.inputs), static_cast<long long>(tally.imported),
              static_cast<long long>(tally.rows), static_cast<long long>(tally.messages_read));
  if (tally.imported == 0 || tally.messages_read == 0) {
    std::fprintf(stderr, "nothing was imported: the target tests nothing\n");
    return 1;
  }
}

#endif

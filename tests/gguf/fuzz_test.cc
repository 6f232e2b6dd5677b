// The fuzz target on a bounded, repeatable walk: some thousands of mutations of valid files. Besides not crashing, a
// reader must not allocate more than a small multiple of the file, whatever counts the file claims.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "fuzz/gguf_fuzz.cc"  // NOLINT: the target is a program of its own elsewhere
#include "gguf/reader.h"
#include "gguf_bytes.h"
#include "support.h"

namespace {

// Heap bytes of this program, counted by the replaced operator new below.
std::atomic<size_t> g_live = 0;
std::atomic<size_t> g_peak = 0;

void* counted_new(size_t size) {
  void* memory = std::malloc(std::max<size_t>(size, 1));
  if (memory == nullptr) throw std::bad_alloc();
  const size_t live = g_live += ::malloc_usable_size(memory);
  g_peak = std::max(g_peak.load(), live);
  return memory;
}

void counted_delete(void* memory) {
  if (memory != nullptr) g_live -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) { return counted_new(size); }
void* operator new[](size_t size) { return counted_new(size); }
void operator delete(void* memory) noexcept { counted_delete(memory); }
void operator delete[](void* memory) noexcept { counted_delete(memory); }
void operator delete(void* memory, size_t) noexcept { counted_delete(memory); }
void operator delete[](void* memory, size_t) noexcept { counted_delete(memory); }

namespace steelyard::gguf {
namespace {

// Peak of heap bytes that `action` adds.
template <typename Action>
size_t peak_of(const Action& action) {
  const size_t before = g_live;
  g_peak = before;
  action();
  return g_peak - before;
}

// A small file with every kind of value and several tensors.
std::string small_file(uint32_t version) {
  const std::string head = header(
      {
          kv("general.alignment", kU32, num<uint32_t>(64)),
          kv("bytes", kArr, arr(kU8, 5, "12345")),
          kv("text", kStr, str("some text")),
          kv("list", kArr, arr(kStr, 4, str("a") + str("") + str("bcd") + str("ef"))),
          kv("wide", kArr, arr(kF64, 2, std::string(16, '\1'))),
          kv("flag", kBool, "\1"),
          kv("big", kU64, num<uint64_t>(1) + ""),
          kv("split.count", kU16, num<uint16_t>(1)),
      },
      {tensor("a", {32, 2, 3}, 8, 0), tensor("b", {4}, 0, 256), tensor("c", {256, 1, 1, 2}, 12, 320)}, version);
  return padded(head, 64) + std::string(320 + 288, 'd');
}

using Random = std::mt19937_64;

size_t below(Random& random, size_t n) { return n == 0 ? 0 : random() % n; }

// Changes `file` once, more often near its begin, where the counts are.
void mutate(std::string& file, size_t header_bytes, Random& random) {
  constexpr uint64_t kNumbers[] = {0,     1,          2,          7,          31,         32,
                                   64,    0xFFFF,     0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, ~0ull >> 1,
                                   ~0ull, 1ull << 63, 1ull << 61, 1ull << 32, ~0ull - 31};
  const size_t at = below(random, std::min(file.size(), below(random, 4) == 0 ? 64 : header_bytes));
  switch (below(random, 8)) {
    case 0:
    case 1:
      if (!file.empty()) file[at] = static_cast<char>(random());
      break;
    case 2:
      if (!file.empty()) file[at] = static_cast<char>(file[at] ^ (1 << below(random, 8)));
      break;
    case 3:
    case 4: {
      const uint64_t number =
          below(random, 3) == 0 ? below(random, file.size() + 9) : kNumbers[below(random, std::size(kNumbers))];
      const std::string bytes = num(number).substr(0, size_t{1} << below(random, 4));
      file.replace(at, std::min(bytes.size(), file.size() - at), bytes);
      break;
    }
    case 5:
      file.resize(at);
      break;
    case 6:
      file.erase(at, below(random, 40));
      break;
    case 7:
      file.insert(at, file.substr(below(random, file.size()), below(random, 60)));
      break;
  }
}

// Bytes that the fuzz target may allocate on a file of `size` bytes: an entry of 14 bytes becomes a KeyValue and a node
// in a hash set, one of 33 bytes a TensorInfo and a node in a hash map.
size_t allowed_bytes(size_t size) { return 16 * size + 65536; }

size_t peak_of_target(const std::string& file) {
  const auto* data = reinterpret_cast<const uint8_t*>(file.data());
  return peak_of([&] { LLVMFuzzerTestOneInput(data, file.size()); });
}

bool opens(const std::string& file) {
  const MemoryFile memory(reinterpret_cast<const uint8_t*>(file.data()), file.size());
  return error_of([&] { Reader(memory.path(), ReadMode::kHeader); }).empty();
}

TEST(GgufFuzzTest, MutatedFilesAreReadOrRefused) {
  const std::pair<std::string, int> seeds[] = {
      {small_file(3), 6000},
      {small_file(2), 2000},
      {test::read_text(test::golden("imatrix/deepseek2/imatrix.gguf")), 1000},
      {test::read_text(test::golden("tokenizers/boundary-bpe.gguf")), 200},
  };
  Random random(20240229);
  for (const auto& [seed, n_runs] : seeds) {
    ASSERT_TRUE(opens(seed));
    int n_opened = 0;
    for (int i = 0; i < n_runs; ++i) {
      std::string file = seed;
      const size_t n_changes = 1 + below(random, 4);
      for (size_t change = 0; change < n_changes; ++change) mutate(file, std::min<size_t>(seed.size(), 6000), random);
      ASSERT_LE(peak_of_target(file), allowed_bytes(file.size())) << "run " << i;
      n_opened += opens(file);
    }
    // Mutations that always or never destroy the file would test little.
    EXPECT_GT(n_opened, n_runs / 50);
    EXPECT_LT(n_opened, n_runs);
  }
}

TEST(GgufFuzzTest, MutatedShardsAreReadOrRefused) {
  const test::TempFolder folder;
  const auto shard = [](uint16_t number, const std::string& name) {
    return padded(header({kv("split.no", kU16, num(number)), kv("split.count", kU16, num<uint16_t>(2)),
                          kv("split.tensors.count", kI32, num<int32_t>(2))},
                         {tensor(name, {8}, 0, 0)})) +
           std::string(32, 'x');
  };
  const std::string first = shard(0, "a"), second = shard(1, "b");
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    std::string a = first, b = second;
    mutate(i % 2 ? a : b, first.size(), random);
    put(folder / "m-00001-of-00002.gguf", a);
    put(folder / "m-00002-of-00002.gguf", b);
    allow_errors([&] {
      const Reader reader(folder / "m-00001-of-00002.gguf");
      use_metadata(reader.metadata());
      use_reader(reader, true);
    });
  }
}

// Headers packed with the smallest possible entries: the worst case for memory, and for anything quadratic.
TEST(GgufFuzzTest, DenseFilesCostLinearTimeAndMemory) {
  constexpr uint32_t kEntries = 100000;
  const auto start = [](uint64_t n_tensors, uint64_t n_kv) {
    return "GGUF" + num<uint32_t>(3) + num(n_tensors) + num(n_kv);
  };
  std::string keys = start(0, kEntries), tensors = start(kEntries, 0);
  for (uint32_t i = 0; i < kEntries; ++i) {
    const std::string name = num(i);
    keys += kv(name, kU8, "x");
    tensors += tensor(name, {1}, 24, 32 * uint64_t{kEntries - i});
  }
  const std::string strings = header({kv("s", kArr, arr(kStr, kEntries, std::string(8 * kEntries, '\0')))}, {});
  const std::string files[] = {keys, tensors, strings};
  for (const std::string& file : files) {
    const MemoryFile memory(reinterpret_cast<const uint8_t*>(file.data()), file.size());
    const size_t peak = peak_of([&] {
      const Reader reader(memory.path(), ReadMode::kHeader);
      EXPECT_EQ(std::max(reader.tensors().size(), reader.metadata().entries().size()),
                &file == &files[2] ? 1 : kEntries);
    });
    EXPECT_LE(peak, allowed_bytes(file.size()));
  }
}

}  // namespace
}  // namespace steelyard::gguf

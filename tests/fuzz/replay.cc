// The main program of a fuzz target in ordinary builds: replay FOLDER-OR-FILE... runs every file once, and then some
// mutations of it, the same in every run: a short walk where libFuzzer takes a long one. The tests of CTest are these
// programs on the seeds and on what was found (docs/fuzzing.md).
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <vector>

#include "base/atomic_file.h"
#include "fuzz/target.h"

// As libFuzzer declares them. A target need not have its own mutator.
extern "C" __attribute__((weak)) size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                                                unsigned seed);

namespace {

std::minstd_rand g_random(1);

size_t below(size_t n) { return n == 0 ? 0 : g_random() % n; }

std::vector<std::string> files_in(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return {path};
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

void run(const std::string& input) {
  // A copy of exactly this size, so that AddressSanitizer sees what is read behind it.
  const std::vector<uint8_t> bytes(input.begin(), input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

std::string mutated(const std::string& input) {
  constexpr size_t kMostBytes = 65536;
  std::string out = input;
  out.resize(std::max(input.size(), kMostBytes));
  for (size_t change = 0, n = input.size();; ++change) {
    auto* const data = reinterpret_cast<uint8_t*>(out.data());
    n = LLVMFuzzerCustomMutator != nullptr
            ? LLVMFuzzerCustomMutator(data, n, out.size(), static_cast<unsigned>(g_random()))
            : LLVMFuzzerMutate(data, n, out.size());
    if (change == 2 || below(2) == 0) return out.substr(0, n);
  }
}

}  // namespace

// A small stand-in for libFuzzer's, which knows much more about an input.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  const size_t at = below(size);
  switch (size == 0 ? 3 : below(6)) {
    case 0:
      text.erase(at, 1 + below(16));
      break;
    case 1:
      text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      break;
    case 2:
      text.resize(at);
      break;
    case 3:
      text.insert(at, 1 + below(4), static_cast<char>(g_random()));
      break;
    case 4:
      text.insert(at, text.substr(below(size), 1 + below(32)));
      break;
    default:
      text[at] = static_cast<char>(g_random());
  }
  text.resize(std::min(text.size(), max_size));
  std::ranges::copy(text, reinterpret_cast<char*>(data));
  return text.size();
}

// replay [-mutations=N] FOLDER-OR-FILE...
int main(int argc, char** argv) {
  size_t n_files = 0, n_runs = 0, n_mutations = 0;
  std::string last;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("-mutations=")) {
      n_mutations = static_cast<size_t>(std::atoll(argument.c_str() + argument.find('=') + 1));
      continue;
    }
    for (const std::string& file : files_in(argument)) {
      fmt::print("{}\n", file);  // the last line says which one is at fault
      std::fflush(stdout);
      const std::string input = steelyard::read_file(file);
      run(input);
      for (size_t m = 0; m < n_mutations; ++m) run(mutated(input));
      ++n_files;
      n_runs += 1 + n_mutations;
    }
  }
  fmt::print("{} files, {} inputs\n", n_files, n_runs);
  return n_files > 0 ? 0 : 1;
}

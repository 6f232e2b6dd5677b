// Budgets of searches: never exceeded, and used up, on the headers of real models. From made-up losses to the text of a
// plan it is the program's own way; what the plan needs is asked of resolve() and `fit`.
#include "jobs/search_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/fit.h"
#include "jobs/search_problems.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

constexpr uint64_t kMostPeak = uint64_t{1} << 30;
constexpr double kMostSeconds = 10;

// The most memory that the process had since the last call.
uint64_t peak_memory() {
  uint64_t kib = 0;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) kib = std::stoull(line.substr(6));
  std::ofstream("/proc/self/clear_refs") << 5;
  return kib << 10;
}

// What a choice takes is measured, and checked.
Choice timed(const SearchBudget& budget, const ChoiceProblem& problem) {
  peak_memory();
  const auto begin = std::chrono::steady_clock::now();
  Choice choice = budget.choose(problem);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const uint64_t peak = peak_memory();
  EXPECT_LT(seconds, kMostSeconds);
  EXPECT_LT(peak, kMostPeak);
  if (std::getenv("STEELYARD_VERBOSE") != nullptr)
    std::printf("%.2f s, peak %.0f MiB, divergence %.4g\n", seconds, static_cast<double>(peak) / (1 << 20),
                choice.divergence);
  return choice;
}

class Budgets : public testing::Test {
 protected:
  // A number between two others.
  uint64_t between(uint64_t least, uint64_t most, double margin = 0) {
    const double part = margin + (1 - 2 * margin) * random_.uniform();
    return least + static_cast<uint64_t>(part * static_cast<double>(most - least));
  }
  FitResult fit_plan(const gguf::Reader& source, const DeviceOptions& devices, int64_t n_context,
                     const std::string& text) const {
    std::ofstream(folder_ / "found.plan") << text;
    FitOptions options{.model = source.path(), .ctx_size = n_context, .devices = devices};
    options.source.plan = folder_ / "found.plan";
    return fit(options);
  }

  void try_bits(const gguf::Reader& source, const ChoiceProblem& problem);
  void try_size(const gguf::Reader& source, const ChoiceProblem& problem);
  void try_devices(const gguf::Reader& source, const ChoiceProblem& problem);

  Random random_{11};
  const test::TempFolder folder_;
};

void Budgets::try_bits(const gguf::Reader& source, const ChoiceProblem& problem) {
  uint64_t n_elements = 0;
  for (const gguf::TensorInfo& tensor : source.tensors()) n_elements += static_cast<uint64_t>(tensor.n_elements());
  const uint64_t bytes =
      between(bytes_in(source, extreme_types(problem, false)), bytes_in(source, extreme_types(problem, true)));
  // Rounded up, so that the smallest is still possible.
  const double bpw = 8 * static_cast<double>(bytes + 1) / static_cast<double>(n_elements);
  SCOPED_TRACE(testing::Message() << "--bpw " << bpw);
  const plan::Resolution found = resolve_text(source, timed(*bits_budget(source, bpw), problem).text);
  EXPECT_LE(found.bits_per_weight, bpw);
  EXPECT_GE(found.bits_per_weight, 0.995 * bpw);
}

void Budgets::try_size(const gguf::Reader& source, const ChoiceProblem& problem) {
  constexpr uint64_t kRoom = 1 << 15;  // for the record
  const uint64_t size = source.header(0).size() + kRoom +
                        between(bytes_in(source, extreme_types(problem, false)) + 32 * source.tensors().size(),
                                bytes_in(source, extreme_types(problem, true)));
  SCOPED_TRACE(testing::Message() << "--size " << size);
  const Choice choice = timed(*size_budget(source, size), problem);
  uint64_t file = source.header(0).size() + plan::Plan::parse(choice.text, "found").text().size();
  const plan::Resolution found = resolve_text(source, choice.text);
  for (const plan::Decision& decision : found.decisions) file += (decision.bytes + 31) / 32 * 32;
  EXPECT_LE(file, size);
  EXPECT_GE(static_cast<double>(file), 0.995 * static_cast<double>(size));
}

void Budgets::try_devices(const gguf::Reader& source, const ChoiceProblem& problem) {
  constexpr uint64_t kReserve = uint64_t{512} << 20;
  const auto n_devices = std::vector<size_t>{1, 2, 3, 6}[static_cast<size_t>(random_.below(4))];
  const int64_t n_context = std::vector<int64_t>{4096, 16384, 40960}[static_cast<size_t>(random_.below(3))];
  DeviceOptions devices{.vram = "60TiB"};
  devices.cache = {.cache_type_k = "f16", .cache_type_v = "f16"};
  const auto needed = [&](bool largest) {
    const std::string text = search::plan_text(source.tensors(), extreme_types(problem, largest));
    return fit_plan(source, devices, n_context, text).devices[0];
  };
  const FitDevice least = needed(false), most = needed(true);
  // A device that is to be full or empty to its last layer needs a split that is just so: not where there are several.
  const uint64_t all =
      between(least.needed, most.needed, n_devices > 1 ? 0.06 : 0) + (n_devices - 1) * (least.rope + least.activations);
  std::vector<double> shares;
  double sum = 0;
  const bool alike = random_.uniform() < 0.5;
  for (size_t d = 0; d < n_devices; ++d) sum += shares.emplace_back(alike ? 1 : 1 + random_.uniform());
  devices.vram = "";
  for (const double share : shares) {
    const uint64_t own = least.rope + least.activations, rest = all - n_devices * own;
    const auto bytes = own + static_cast<uint64_t>(static_cast<double>(rest) * share / sum);
    devices.vram += (devices.vram.empty() ? "" : ",") + std::to_string(bytes + 1 + kReserve);
  }
  SCOPED_TRACE(testing::Message() << "--vram " << devices.vram << " -c " << n_context);
  const Choice choice = timed(*device_budget(source, devices, n_context), problem);
  EXPECT_EQ(choice.tensor_split.size(), n_devices > 1 ? n_devices : 0);
  devices.placement.tensor_split = choice.tensor_split;
  const FitResult found = fit_plan(source, devices, n_context, choice.text);
  EXPECT_TRUE(found.fits);
  ASSERT_EQ(found.devices.size(), n_devices);
  for (const FitDevice& device : found.devices) {
    EXPECT_LE(device.needed, device.free);
    EXPECT_GE(static_cast<double>(device.needed), 0.98 * static_cast<double>(device.free)) << device.n_layers;
  }
}

// Forty of each kind, over all headers in turn. STEELYARD_BUDGETS: another number of all.
TEST_F(Budgets, OfRealHeadersAreKeptAndUsed) {
  const std::vector<std::string> paths = search::real_headers();
  if (paths.empty()) GTEST_SKIP() << test::shared("skeletons") << " is absent";
  const char* const n = std::getenv("STEELYARD_BUDGETS");
  const int n_budgets = n == nullptr ? 3 * 40 : std::atoi(n);
  size_t most_tensors = 0;
  for (int i = 0; i < n_budgets; ++i) {
    const std::string& path = paths[static_cast<size_t>(i) % paths.size()];
    SCOPED_TRACE(path);
    if (std::getenv("STEELYARD_VERBOSE") != nullptr) std::printf("%s: ", path.c_str());
    const gguf::Reader source(path, gguf::ReadMode::kHeader);
    const ChoiceProblem problem = made_up_problem(source, static_cast<uint64_t>(i));
    most_tensors = std::max(most_tensors, source.tensors().size());
    const int kind = i / static_cast<int>(paths.size()) % 3;
    if (kind == 0) try_devices(source, problem);
    if (kind == 1) try_bits(source, problem);
    if (kind == 2) try_size(source, problem);
  }
  EXPECT_GE(most_tensors, 1096u) << "Kimi K2.5";
}

}  // namespace
}  // namespace steelyard::jobs

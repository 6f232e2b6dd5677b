// Budgets of devices on small models: what is missing, room that cannot be used, layers on the host, an embedding that
// counts twice, splits that are given, few rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "error_of.h"
#include "gguf/reader.h"
#include "jobs/fit.h"
#include "jobs/search_problems.h"

namespace steelyard::jobs {
namespace {

using testing::HasSubstr;

constexpr int64_t kContext = 64;

class DeviceBudgets : public testing::Test {
 protected:
  static gguf::Reader open(const std::string& model) {
    return gguf::Reader(test::golden("models/" + model + "/model.gguf"), gguf::ReadMode::kHeader);
  }
  FitResult fit_plan(const gguf::Reader& source, const DeviceOptions& devices, const std::string& text) const {
    std::ofstream(folder_ / "found.plan") << text;
    FitOptions options{.model = source.path(), .ctx_size = kContext, .devices = devices};
    options.source.plan = folder_ / "found.plan";
    return fit(options);
  }
  // Devices that need so much under the smallest types, and with `part` of what the largest need more; as many as there
  // are numbers in `split`.
  DeviceOptions devices_for(const gguf::Reader& source, const ChoiceProblem& problem, double part,
                            std::vector<double> split, int64_t gpu_layers = INT32_MAX) const {
    DeviceOptions devices{.vram = "1TiB", .reserve = 0};
    for (size_t d = 1; d < split.size(); ++d) devices.vram += ",1TiB";
    devices.placement = {.tensor_split = std::move(split), .gpu_layers = gpu_layers};
    std::vector<uint64_t> bytes;
    for (const bool largest : {false, true}) {
      const FitResult at =
          fit_plan(source, devices, search::plan_text(source.tensors(), extreme_types(problem, largest)));
      bytes.resize(at.devices.size());
      for (size_t d = 0; d < bytes.size(); ++d)
        bytes[d] += static_cast<uint64_t>((largest ? part : 1 - part) * static_cast<double>(at.devices[d].needed));
    }
    devices.vram = "";
    for (const uint64_t n : bytes) devices.vram += (devices.vram.empty() ? "" : ",") + std::to_string(n);
    return devices;
  }
  // Within each device, and by less than the smallest step of any tensor not full.
  void expect_full(const gguf::Reader& source, DeviceOptions devices, const Choice& choice) const {
    if (!choice.tensor_split.empty()) devices.placement.tensor_split = choice.tensor_split;
    const FitResult found = fit_plan(source, devices, choice.text);
    EXPECT_TRUE(found.fits);
    for (const FitDevice& device : found.devices) {
      EXPECT_LE(device.needed, device.free);
      EXPECT_LT(device.free - device.needed, device.weights / 8) << device.first_layer;
    }
  }

  const test::TempFolder folder_;
};

TEST_F(DeviceBudgets, MissingBytesAreNamed) {
  const gguf::Reader source = open("llama");
  const ChoiceProblem problem = made_up_problem(source, 1);
  DeviceOptions devices = devices_for(source, problem, 0, {1});
  EXPECT_EQ(device_budget(source, devices, kContext)->choose(problem).types, extreme_types(problem, false));
  const uint64_t least = parse_bytes(devices.vram);
  devices.vram = std::to_string(least - 1000);
  const std::string error = test::error_of([&] { device_budget(source, devices, kContext)->choose(problem); });
  EXPECT_THAT(error, HasSubstr("1000 bytes are missing"));
  EXPECT_THAT(error, HasSubstr("context of 64 tokens"));
  EXPECT_EQ(error.find('\n'), std::string::npos);
}

TEST_F(DeviceBudgets, ReserveAndCacheAreLeftFree) {
  const gguf::Reader source = open("llama");
  const ChoiceProblem problem = made_up_problem(source, 1);
  DeviceOptions devices = devices_for(source, problem, 0.5, {1});
  const auto divergence_of = [&] { return device_budget(source, devices, kContext)->choose(problem).divergence; };
  const double before = divergence_of();
  devices.reserve = 3000;
  EXPECT_GT(divergence_of(), 1.01 * before);
  devices.reserve = 0;
  devices.cache = {.cache_type_k = "f16", .cache_type_v = "f16"};
  EXPECT_LT(divergence_of(), 0.99 * before);
}

TEST_F(DeviceBudgets, RoomThatNothingCanFillIsNoError) {
  const gguf::Reader source = open("llama");
  const ChoiceProblem problem = made_up_problem(source, 2);
  for (const std::string vram : {"1GiB", "1GiBx2"}) {
    const Choice choice = device_budget(source, {.vram = vram}, kContext)->choose(problem);
    EXPECT_EQ(choice.types, extreme_types(problem, true)) << vram;
    EXPECT_TRUE(choice.has_largest_types) << vram;
  }
  EXPECT_FALSE(
      device_budget(source, devices_for(source, problem, 0.5, {1}), kContext)->choose(problem).has_largest_types);
}

TEST_F(DeviceBudgets, ASplitThatIsGivenIsKept) {
  for (const std::string model : {"qwen35moe", "deepseek3"}) {
    const gguf::Reader source = open(model);
    const ChoiceProblem problem = made_up_problem(source, 3);
    const DeviceOptions devices = devices_for(source, problem, 0.4, {2, 1});
    const Choice choice = device_budget(source, devices, kContext)->choose(problem);
    EXPECT_EQ(choice.tensor_split, (model == "deepseek3" ? std::vector<double>{2, 1} : std::vector<double>{3, 1}));
    EXPECT_THAT(choice.text, HasSubstr("--tensor-split " + std::string(model == "deepseek3" ? "2,1" : "3,1")));
    expect_full(source, devices, choice);
  }
}

// Where none is given it is found: here there is one in which all fits.
TEST_F(DeviceBudgets, ASplitIsFound) {
  for (const std::string model : {"qwen35moe", "deepseek3", "llama"}) {
    const gguf::Reader source = open(model);
    const ChoiceProblem problem = made_up_problem(source, 4);
    const std::vector<double> split = model == "qwen35moe" ? std::vector<double>{1, 2, 1} : std::vector<double>{1, 2};
    DeviceOptions devices = devices_for(source, problem, 0.02, split);
    devices.placement = {};
    const Choice choice = device_budget(source, devices, kContext)->choose(problem);
    EXPECT_EQ(choice.tensor_split, split) << model;
    devices.placement.tensor_split = choice.tensor_split;
    EXPECT_TRUE(fit_plan(source, devices, choice.text).fits) << model;
  }
}

// The embedding is the output as well: on two devices it is on both.
TEST_F(DeviceBudgets, AnEmbeddingOnTwoDevicesCountsTwice) {
  for (const std::string model : {"gemma3", "llama_tied"}) {
    const gguf::Reader source = open(model);
    const ChoiceProblem problem = made_up_problem(source, 5);
    for (const double part : {0.0, 0.3, 0.7}) {
      for (const bool is_given : {false, true}) {
        DeviceOptions devices = devices_for(source, problem, part, {1, 2});
        if (!is_given) devices.placement = {};
        const Choice choice = device_budget(source, devices, kContext)->choose(problem);
        devices.placement.tensor_split = choice.tensor_split;
        EXPECT_TRUE(fit_plan(source, devices, choice.text).fits) << model << " " << part << " " << is_given;
      }
    }
  }
}

// No device limits layers on the host: they have as many bits per weight as the others.
TEST_F(DeviceBudgets, LayersOnTheHostAreLikeTheOthers) {
  const gguf::Reader source = open("qwen35moe");
  const ChoiceProblem problem = made_up_problem(source, 6);
  const DeviceOptions devices = devices_for(source, problem, 0.4, {1}, /*gpu_layers=*/2);
  const Choice choice = device_budget(source, devices, kContext)->choose(problem);
  EXPECT_THAT(choice.text, HasSubstr("--gpu-layers 2"));
  expect_full(source, devices, choice);
  double bits[2] = {0, 0}, n[2] = {0, 0};
  for (const gguf::TensorInfo& tensor : tensors_in(source.tensors(), choice.types)) {
    if (plan::protection(tensor)) continue;
    const auto block = gguf::block_of(tensor.name);
    const size_t on_device = (block && *block >= 2) || tensor.name == "output.weight" ? 1 : 0;
    bits[on_device] += 8 * static_cast<double>(tensor.n_bytes);
    n[on_device] += static_cast<double>(tensor.n_elements());
  }
  EXPECT_NEAR(bits[0] / n[0], bits[1] / n[1], 0.5);
  EXPECT_EQ(test::error_of([&] { device_budget(source, {.vram = "1GiB", .placement = {.gpu_layers = 0}}, kContext); }),
            "--gpu-layers 0: no layer would be on the devices");
}

TEST_F(DeviceBudgets, FewRulesFitToo) {
  const gguf::Reader source = open("qwen35moe");
  ChoiceProblem problem = made_up_problem(source, 7);
  for (const std::vector<double>& split : {std::vector<double>{1}, std::vector<double>{1, 1}}) {
    DeviceOptions devices = devices_for(source, problem, 0.5, split);
    devices.placement = {};
    problem.max_rules = 0;
    const Choice best = device_budget(source, devices, kContext)->choose(problem);
    EXPECT_FALSE(best.limit.has_value());
    problem.max_rules = 5;
    const Choice choice = device_budget(source, devices, kContext)->choose(problem);
    ASSERT_TRUE(choice.limit.has_value());
    EXPECT_LE(plan::Plan::parse(choice.text, "found").rules().size() + 1, 5u);
    EXPECT_GT(choice.limit->rules_without, 5);
    EXPECT_LE(choice.limit->rules, 5);
    EXPECT_DOUBLE_EQ(choice.limit->divergence_without, best.divergence);
    EXPECT_DOUBLE_EQ(choice.limit->divergence, choice.divergence);
    EXPECT_GT(choice.divergence, best.divergence);
    devices.placement.tensor_split = choice.tensor_split;
    EXPECT_TRUE(fit_plan(source, devices, choice.text).fits);
  }
}

TEST_F(DeviceBudgets, BadValuesAreRefused) {
  const gguf::Reader source = open("llama");
  const auto expect_refused = [&](const DeviceOptions& devices, int64_t n_context, const std::string& words) {
    const std::string error = test::error_of([&] { device_budget(source, devices, n_context); });
    EXPECT_THAT(error, HasSubstr(words));
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  };
  expect_refused({.vram = "16"}, kContext, "Give a unit: 16GiB");
  expect_refused({.vram = "many"}, kContext, "no size of memory");
  expect_refused({.vram = "1GiBx0"}, kContext, "how many times");
  expect_refused({.vram = "1GiB"}, int64_t{1} << 40, "exceeds the model's");
  expect_refused({.vram = "1GiB", .sequences = 0}, kContext, "--sequences");
  expect_refused({.vram = "1GiB", .batch_size = 0}, kContext, "--batch-size");
  expect_refused({.vram = "1GiB", .placement = {.tensor_split = {1, 1}}}, kContext, "split of layers has 2 parts");
  expect_refused({.vram = "1GiB", .cache = {.cache_type_k = "q9"}}, kContext, "q9");
}

}  // namespace
}  // namespace steelyard::jobs

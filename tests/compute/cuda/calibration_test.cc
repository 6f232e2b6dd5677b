// Calibration and quantization in one pass with a device: the text passes through the layers there, and matrices are
// rounded there to the bytes of the processor.
#include <gmock/gmock.h>

#include <random>

#include "calibrate/calibrated_layers.h"
#include "compute/cuda/on_device.h"
#include "gguf/reader.h"
#include "plan/plan.h"
#include "support.h"

namespace steelyard::compute {
namespace {

class CudaCalibration : public CudaTest {
 protected:
  static constexpr int64_t kContext = 16, kChunks = 16;

  void SetUp() override {
    CudaTest::SetUp();
    cuda_emulator::config().stack_bytes = size_t{1} << 20;
    encoder_ = make_cuda_encoder(0);
  }

  static std::vector<int32_t> tokens() {
    std::mt19937 random(1);
    std::vector<int32_t> ids(kChunks * kContext);
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 256);
    return ids;
  }

  struct Result {
    std::vector<std::vector<std::byte>> tensors;
    std::vector<calibrate::RoundingReport> reports;
    std::map<std::string, calibrate::WorkerRates::Work> workers;
  };

  // On the processor and on these devices.
  Result quantized(Backend& backend, calibrate::CalibrationDevices devices) const {
    const model::Model model(source_, backend);
    calibrate::CalibratedLayers layers(source_, resolution_, model);
    layers.start(chunks_, {.rounding = {.ldlq = {.effort = formats::Effort::kFast}}, .devices = std::move(devices)});
    Result result;
    for (const plan::Decision& decision : resolution_.decisions) {
      if (auto bytes = layers.encode(decision)) result.tensors.push_back(std::move(*bytes));
    }
    result.reports = layers.reports();
    result.workers = layers.workers();
    return result;
  }

  const gguf::Reader source_{test::golden("imatrix/deepseek2_k256/model.gguf")};
  const plan::Resolution resolution_ = resolve(
      plan::Plan::parse("ffn_down_exps = Q4_0\n_exps = IQ2_S\nattn = Q4_K\nffn_down = Q6_K\n* = keep\n", "test"),
      source_.tensors());
  const tokenizer::Chunks chunks_{tokens(), kContext, 0, std::nullopt, "text"};
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu");
  std::unique_ptr<formats::DeviceEncoder> encoder_;
};

// The layers' inputs are the processor's, so the moments are.
TEST_F(CudaCalibration, RoundsToTheBytesOfTheProcessor) {
  const Result expected = quantized(*cpu_, {}), found = quantized(*cpu_, {.encoders = {encoder_.get()}});
  ASSERT_GT(expected.tensors.size(), 0u);
  ASSERT_EQ(found.tensors.size(), expected.tensors.size());
  for (size_t i = 0; i < found.tensors.size(); ++i) {
    EXPECT_TRUE(found.tensors[i] == expected.tensors[i]) << expected.reports[i].name;
  }
}

// From one queue, by all devices and the processor's threads: who rounds what depends on who is free, the bytes do not.
TEST_F(CudaCalibration, AnyNumberOfDevicesGivesTheSameBytes) {
  start(6);
  cuda_emulator::config().stack_bytes = size_t{1} << 20;
  const Result expected = quantized(*cpu_, {});
  for (const int n_devices : {1, 2, 3, 6}) {
    std::vector<std::unique_ptr<formats::DeviceEncoder>> encoders;
    std::vector<formats::DeviceEncoder*> devices;
    for (int d = 0; d < n_devices; ++d) devices.push_back(encoders.emplace_back(make_cuda_encoder(d)).get());
    const Result found = quantized(*cpu_, {.encoders = devices});
    EXPECT_TRUE(found.tensors == expected.tensors) << n_devices;
    for (int d = 0; d < n_devices; ++d) EXPECT_TRUE(found.workers.contains(fmt::format("device {}", d))) << n_devices;
  }
}

// Batches of the text are dealt to devices as well, and sums over inputs are spread over them: nothing shows it.
TEST_F(CudaCalibration, TheTextOnAnyNumberOfDevicesGivesTheSameBytes) {
  start(6);
  cuda_emulator::config().stack_bytes = size_t{1} << 20;
  const auto on_devices = [&](int n_devices) {
    std::vector<std::unique_ptr<Backend>> backends;
    std::vector<std::unique_ptr<formats::DeviceEncoder>> encoders;
    calibrate::CalibrationDevices devices;
    for (int d = 0; d < n_devices; ++d) {
      devices.forward.push_back(backends.emplace_back(make_cuda_backend(d, Precision::kExact)).get());
      devices.moments.push_back(backends.emplace_back(make_cuda_backend(d, Precision::kExact)).get());
      devices.encoders.push_back(encoders.emplace_back(make_cuda_encoder(d)).get());
    }
    return quantized(*devices.forward[0], devices);
  };
  const Result expected = on_devices(1);
  ASSERT_GT(expected.tensors.size(), 0u);
  for (const int n_devices : {2, 3, 6}) {
    const Result found = on_devices(n_devices);
    EXPECT_TRUE(found.tensors == expected.tensors) << n_devices;
    for (size_t i = 0; i < expected.reports.size(); ++i) {
      EXPECT_EQ(found.reports[i].loss, expected.reports[i].loss) << expected.reports[i].name << " on " << n_devices;
    }
  }
}

// The inputs differ in their last digits. So some bytes differ, but the loss on the whole is about the same (judged by
// 32 inputs).
TEST_F(CudaCalibration, WithTheTextOnTheDevice) {
  const std::unique_ptr<Backend> device = cuda();
  const Result expected = quantized(*cpu_, {}), found = quantized(*device, {.encoders = {encoder_.get()}});
  ASSERT_GT(expected.reports.size(), 0u);
  ASSERT_EQ(found.reports.size(), expected.reports.size());
  std::array<double, calibrate::kRoundings> expected_loss = {}, found_loss = {};
  for (size_t i = 0; i < found.reports.size(); ++i) {
    EXPECT_EQ(found.reports[i].name, expected.reports[i].name);
    EXPECT_EQ(found.tensors[i].size(), expected.tensors[i].size());
    for (size_t way = 0; way < calibrate::kRoundings; ++way) {
      expected_loss[way] += expected.reports[i].loss[way];
      found_loss[way] += found.reports[i].loss[way];
    }
  }
  for (size_t way = 0; way < calibrate::kRoundings; ++way) {
    EXPECT_GT(expected_loss[way], 0.0);
    EXPECT_NEAR(found_loss[way], expected_loss[way], 0.1 * expected_loss[way]) << way;
  }
}

}  // namespace
}  // namespace steelyard::compute

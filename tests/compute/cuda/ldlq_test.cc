// Error feedback on the device: for a given Hessian, the bytes of the CPU for every type.
#include "quantize/ldlq.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "compute/cuda/encoders.h"
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

// Inputs of a few directions, so that columns are related, and some that nearly all energy is in.
std::vector<float> hessian(int64_t n, unsigned seed) {
  constexpr int kDirections = 8;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> sums(static_cast<size_t>(n * n));
  for (int d = 0; d < kDirections; ++d) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& value : x) value = normal(random) * (random() % 50 == 0 ? 20.0f : 1.0f);
    for (int64_t a = 0; a < n; ++a) {
      for (int64_t b = 0; b < n; ++b) sums[static_cast<size_t>(a * n + b)] += x[a] * x[b] / kDirections;
    }
  }
  for (int64_t a = 0; a < n; ++a) sums[static_cast<size_t>(a * n + a)] += 1.0f;
  return sums;
}

std::vector<float> weights(int64_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = i / 256 % 7 == 6 ? 0.0f : normal(random);
  return x;
}

class CudaLdlq : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    cuda_emulator::config().stack_bytes = size_t{1} << 20;  // a thread's search is tens of kilobytes
    device_ = make_cuda_encoder(0);
  }

  void compare(formats::Type type, int64_t n_rows, int64_t n, const quantize::LdlqSettings& settings) {
    const formats::Format& to = format(type);
    SCOPED_TRACE(fmt::format("{}, {} x {}, effort {}, {} passes, {} given back", to.name, n_rows, n,
                             static_cast<int>(settings.effort), settings.passes, settings.shrinkage_compensation));
    const std::vector<float> rows = weights(n_rows * n, 1), h = hessian(n, 2);
    const auto bytes = [&](formats::DeviceEncoder* device) {
      const auto encoder = quantize::LdlqEncoder::make(to, n, h.data(), settings, device);
      EXPECT_TRUE(encoder.has_value());
      std::vector<std::byte> out(static_cast<size_t>(n_rows * (n / to.block_len) * to.block_bytes));
      if (encoder) encoder->encode(rows.data(), n_rows, out.data());
      return out;
    };
    const std::vector<std::byte> found = bytes(device_.get()), expected = bytes(nullptr);
    const auto block_bytes = static_cast<size_t>(to.block_bytes);
    std::vector<size_t> other;
    for (size_t at = 0; at < found.size(); at += block_bytes) {
      if (!std::equal(&found[at], &found[at] + block_bytes, &expected[at])) other.push_back(at / block_bytes);
    }
    EXPECT_THAT(other, testing::IsEmpty());
  }

  std::unique_ptr<formats::DeviceEncoder> device_;
};

class CudaLdlqOfTypes : public CudaLdlq, public testing::WithParamInterface<const formats::Format*> {};

INSTANTIATE_TEST_SUITE_P(Types, CudaLdlqOfTypes, testing::ValuesIn(device_formats()),
                         [](const auto& test) { return std::string(test.param->name); });

// Three panels, the last a narrower one where blocks allow it; three rows more than a tile has.
TEST_P(CudaLdlqOfTypes, WritesTheBytesOfTheProcessor) {
  const formats::Format& to = *GetParam();
  compare(to.type, 35, to.block_len < 256 ? 640 : 768, {.effort = formats::Effort::kFast});
}

TEST_P(CudaLdlqOfTypes, OfOneBlock) { compare(GetParam()->type, 1, GetParam()->block_len, {}); }

// Rounding in order alone, and shrinkage compensation alone.
TEST_F(CudaLdlq, StepByStep) {
  for (const formats::Type type : {formats::Type::IQ2_S, formats::Type::Q4_K, formats::Type::Q5_0}) {
    compare(type, 3, 512, {.passes = 0, .shrinkage_compensation = 0.0, .effort = formats::Effort::kFast});
    compare(type, 3, 512, {.passes = 1, .shrinkage_compensation = 0.0, .effort = formats::Effort::kBest});
    compare(type, 3, 512, {.passes = 0, .shrinkage_compensation = 1.0, .effort = formats::Effort::kFast});
  }
}

// Buffers are reused by smaller and larger matrices.
TEST_F(CudaLdlq, MatrixAfterMatrix) {
  for (const int64_t n : {256, 512, 256}) {
    for (const formats::Type type : {formats::Type::IQ1_M, formats::Type::Q6_K})
      compare(type, 1, n, {.passes = 1, .effort = formats::Effort::kFast});
  }
}

TEST_F(CudaLdlq, AllSchedules) {
  cuda_emulator::under_all_schedules([&] {
    for (const formats::Type type : {formats::Type::IQ1_S, formats::Type::Q3_K})
      compare(type, 34, 512, {.passes = 1, .effort = formats::Effort::kFast});
  });
}

}  // namespace
}  // namespace steelyard::compute

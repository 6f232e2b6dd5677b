// Quantizing on the device: the bytes that the processor writes, for every type that the device encodes.
#include "compute/cuda/encoders.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <random>

#include "compute/cuda/on_device.h"
#include "formats/device_encoder.h"
#include "gguf/reader.h"
#include "quantize/quantize.h"
#include "support.h"

namespace steelyard::compute {
namespace {

class CudaEncoders : public CudaTest {
 protected:
  // A thread's search of a block is tens of kilobytes, which on a device are local memory.
  void SetUp() override {
    CudaTest::SetUp();
    cuda_emulator::config().stack_bytes = size_t{1} << 20;
    encoder_ = make_cuda_encoder(0);
  }

  // Weights as models have them, and what encoders treat apart: zeros, equal magnitudes, outliers, extremes of F32.
  static std::vector<float> rows(int64_t n_rows, int64_t n_cols, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, 0.02f);
    std::vector<float> x(static_cast<size_t>(n_rows * n_cols));
    for (size_t i = 0; i < x.size(); ++i) {
      x[i] = normal(random);
      const size_t block = i / 256;
      if (block % 8 == 3) x[i] = 0.0f;
      if (block % 8 == 4) x[i] = random() % 2 == 0 ? 0.01f : -0.01f;
      if (block % 8 == 5 && random() % 50 == 0) x[i] *= 100.0f;
      if (block % 8 == 6) x[i] = std::ldexp(x[i], 120);
      if (block % 8 == 7) x[i] = std::ldexp(x[i], -120);
    }
    return x;
  }

  static std::vector<float> importance(int64_t n_cols, unsigned seed) {
    std::mt19937 random(seed);
    std::exponential_distribution<float> exponential;
    std::vector<float> columns(static_cast<size_t>(n_cols));
    for (float& column : columns) column = random() % 10 == 0 ? 0.0f : exponential(random);
    return columns;
  }

  void compare(formats::Type type, int64_t n_rows, int64_t n_cols, bool weighted, formats::Effort effort) {
    const formats::Format& to = format(type);
    SCOPED_TRACE(fmt::format("{}, {} x {}, effort {}, importance {}", to.name, n_rows, n_cols, static_cast<int>(effort),
                             weighted));
    const std::vector<float> x = rows(n_rows, n_cols, 1), columns = importance(n_cols, 2);
    const float* const weights = weighted ? columns.data() : nullptr;
    const int64_t blocks = n_cols / to.block_len;
    const auto row_bytes = static_cast<size_t>(blocks * to.block_bytes);
    std::vector<std::byte> found(static_cast<size_t>(n_rows) * row_bytes), expected(found.size());
    encoder_->encode(type, x.data(), n_rows, n_cols, weights, effort, found.data());
    for (int64_t r = 0; r < n_rows; ++r) {
      to.encoder->encode_row(x.data() + r * n_cols, weights, blocks, effort,
                             expected.data() + static_cast<size_t>(r) * row_bytes);
    }
    std::vector<int64_t> other;
    for (int64_t b = 0; b < n_rows * blocks; ++b) {
      const auto at = static_cast<size_t>(b * to.block_bytes);
      if (std::memcmp(&found[at], &expected[at], static_cast<size_t>(to.block_bytes)) != 0) other.push_back(b);
    }
    EXPECT_THAT(other, testing::IsEmpty());
  }

  std::unique_ptr<formats::DeviceEncoder> encoder_;
};

class CudaEncodersOfTypes : public CudaEncoders, public testing::WithParamInterface<const formats::Format*> {};

INSTANTIATE_TEST_SUITE_P(Types, CudaEncodersOfTypes, testing::ValuesIn(device_formats()),
                         [](const auto& test) { return std::string(test.param->name); });

// 11 rows of 3 blocks of 256: one more than a launch's block has threads.
TEST_P(CudaEncodersOfTypes, WriteTheBytesOfTheProcessor) {
  for (const formats::Effort effort : {formats::Effort::kFast, formats::Effort::kNormal}) {
    for (const bool weighted : {false, true}) compare(GetParam()->type, 11, 768, weighted, effort);
  }
}

TEST_P(CudaEncodersOfTypes, AtBestEffort) {
  for (const bool weighted : {false, true}) compare(GetParam()->type, 2, 768, weighted, formats::Effort::kBest);
}

TEST_F(CudaEncoders, OneRowOfOneBlock) {
  for (const formats::Format* each : device_formats())
    compare(each->type, 1, each->block_len, true, formats::Effort::kFast);
}

// Books are uploaded to the device once. Buffers are reused by smaller and larger tensors.
TEST_F(CudaEncoders, CallAfterCallAndTypeAfterType) {
  for (const int64_t n_rows : {2, 1, 3}) {
    for (const formats::Type type : {formats::Type::IQ1_M, formats::Type::Q4_K})
      compare(type, n_rows, 512, n_rows != 1, formats::Effort::kFast);
  }
}

TEST_F(CudaEncoders, AllSchedules) {
  cuda_emulator::under_all_schedules([&] {
    for (const formats::Type type : {formats::Type::IQ1_S, formats::Type::IQ2_XXS, formats::Type::Q3_K})
      compare(type, 35, 512, true, formats::Effort::kFast);
  });
}

// A model with experts, whose rows have importance of their own; slabs that end within an expert.
TEST_F(CudaEncoders, WriteTheModelOfTheProcessor) {
  const test::TempFolder folder;
  const gguf::Reader reader(test::golden("imatrix/deepseek2_k256/model.gguf"));
  const imatrix::Imatrix imatrix =
      imatrix::Imatrix::load(test::golden("imatrix/deepseek2_k256/imatrix_with_output.gguf"));
  const plan::Resolution resolution =
      resolve(plan::Plan::parse("exps = IQ2_S\nattn = IQ4_NL\noutput = F16\n* = Q4_K", "test.plan"), reader.tensors());
  const auto write = [&](const std::string& path, formats::DeviceEncoder* device, uint64_t slab) {
    const quantize::QuantizeTarget target{
        .path = path, .effort = formats::Effort::kFast, .device = device, .slab_bytes = slab};
    quantize::quantize({reader, resolution, &imatrix}, target, [](const quantize::QuantizeProgress&) {});
    return test::read_text(path);
  };
  EXPECT_TRUE(write(folder / "device", encoder_.get(), 200000) == write(folder / "processor", nullptr, 1 << 30));
}

// Every type with blocks has an encoder on the device.
TEST_F(CudaEncoders, OtherTypesAreTheProcessors) {
  for (const formats::Format* each : formats::all_formats())
    EXPECT_EQ(encoder_->encodes(each->type), each->block_len > 1) << each->name;
}

}  // namespace
}  // namespace steelyard::compute

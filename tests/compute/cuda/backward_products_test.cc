// Backward passes of matrix products of every type, against the reference: gradients of inputs and of stored scales,
// of single weights, batches of heads and experts, in one part and in several.
#include <cmath>

#include "compute/cuda/backward_memory.h"
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

constexpr float kTolerance = 1e-5f;

class CudaBackwardProducts : public CudaTest {
 protected:
  void TearDown() override {
    compute::cuda::values_at_once = kValuesAtOnce;
    CudaTest::TearDown();
  }

  static std::vector<const formats::Format*> types() {
    std::vector<const formats::Format*> types;
    for (const formats::Format* format : formats::all_formats()) {
      if (format->decode != nullptr && format->encoder != nullptr) types.push_back(format);
    }
    return types;
  }

  static std::vector<float> scales_of(const Weight& weight) {
    const formats::Format& format = *weight.format;
    const int64_t n_blocks = weight.n_slices * weight.n_out * weight.n_in / format.block_len;
    std::vector<float> scales(static_cast<size_t>(n_blocks * format.n_scales));
    for (int64_t b = 0; format.n_scales > 0 && b < n_blocks; ++b)
      format.read_scales(weight.data + b * format.block_bytes, scales.data() + b * format.n_scales);
    return scales;
  }

  // The largest value that a scale of the first block multiplies.
  static float largest_unit(const Weight& weight) {
    const formats::Format& format = *weight.format;
    std::vector<std::byte> block(weight.data, weight.data + format.block_bytes);
    std::vector<float> values(static_cast<size_t>(format.block_len));
    float largest = 0;
    for (int number = 0; number < format.n_scales; ++number) {
      float scales[formats::kMaxStoredScales] = {};
      scales[number] = 1;
      format.write_scales(scales, block.data());
      format.decode(block.data(), 1, values.data());
      for (const float value : values) largest = std::max(largest, std::abs(value));
    }
    return largest;
  }

  // Rows of sums are those of the weight.
  static Matrix sums_of(const Weight& weight, std::vector<float>& sums) {
    const int64_t n_rows = weight.n_slices * weight.n_out, n_cols = std::ssize(sums) / n_rows;
    return {sums.data(), n_rows, n_cols, n_cols};
  }

  // The products of `list(weight, x, out, routing)`, backwards: dx += and sums +=.
  using List = std::function<std::vector<Product>(const Weight&, Matrix x, Matrix out, const Routing*)>;
  void compare(Backend& backend, const Weight& weight, int64_t rows, int64_t x_cols, int64_t out_cols, const List& list,
               Routing* routing = nullptr) {
    SCOPED_TRACE(std::string(weight.format->name) + " " + std::to_string(weight.n_in) + " to " +
                 std::to_string(weight.n_out) + ", " + std::to_string(rows) + " rows");
    Activations x(rows, x_cols, 2), dz(rows, out_cols, 3), dx(rows, x_cols, 4, 9), expected(rows, x_cols, 4, 9);
    std::vector<float> expected_sums = scales_of(weight);  // as something to add to
    DeviceMatrix device_x(backend, x), device_dz(backend, dz), device_dx(backend, dx);
    const DeviceValues<float> sums(backend, expected_sums);
    const Weight loaded = backend.load(weight);
    std::optional<DeviceRouting> device_routing;
    Routing on_device;
    if (routing != nullptr) on_device = device_routing.emplace(backend, *routing).get();
    const auto scale_gradients = [](std::vector<Product> products, float* to) {
      std::vector<ScaleGradient> gradients;
      for (const Product& product : products) gradients.push_back({product, to});
      return gradients;
    };
    const Routing* const used = routing != nullptr ? &on_device : nullptr;
    backend.mul_mats_transposed(list(loaded, device_dx.matrix(), device_dz.matrix(), used));
    backend.scale_gradients(scale_gradients(list(loaded, device_x.matrix(), device_dz.matrix(), used), sums.data()));
    device_dx.download();
    ref_->mul_mats_transposed(list(weight, expected.matrix(), dz.matrix(), routing));
    ref_->scale_gradients(scale_gradients(list(weight, x.matrix(), dz.matrix(), routing), expected_sums.data()));
    expect_close(dx.matrix(), expected.matrix(), kTolerance, std::sqrt(static_cast<float>(weight.n_out)));
    std::vector<float> found_sums = sums.values();
    if (!found_sums.empty()) {  // their terms cancel: a block's gradients of random signs, times the units
      const float terms = largest_unit(weight) * std::sqrt(static_cast<float>(rows * weight.format->block_len));
      expect_close(sums_of(weight, found_sums), sums_of(weight, expected_sums), kTolerance, terms);
    }
    EXPECT_TRUE(dx.untouched_outside());
    results_ = found_sums;
    append(results_, dx.matrix());
  }

  void compare_one(Backend& backend, formats::Type type, int64_t n_in, int64_t n_out, int64_t rows) {
    RandomWeight weight(type, n_in, n_out, 1, 1);
    compare(backend, weight.get(), rows, n_in, n_out, [](const Weight& w, Matrix x, Matrix out, const Routing*) {
      return std::vector<Product>{{&w, 0, x, out}};
    });
  }

  std::vector<float> results_;  // of the last comparison
  const int64_t kValuesAtOnce = compute::cuda::values_at_once;
};

TEST_F(CudaBackwardProducts, EveryType) {
  const auto backend = cuda();
  for (const formats::Format* format : types()) {
    compare_one(*backend, format->type, 256, 70, 9);
    compare_one(*backend, format->type, 512, 3, 70);
  }
}

// The types that ptx_products.cu has.
TEST_F(CudaBackwardProducts, SomeTypes) {
  const auto backend = cuda();
  for (const formats::Type type : {formats::Type::F32, formats::Type::BF16, formats::Type::Q8_0, formats::Type::Q5_1,
                                   formats::Type::Q4_K, formats::Type::IQ2_XS, formats::Type::IQ3_S}) {
    compare_one(*backend, type, 256, 5, 3);
  }
}

TEST_F(CudaBackwardProducts, AwkwardShapes) {
  const auto backend = cuda();
  for (const int64_t n_in : {1, 15, 65, 100}) {
    for (const int64_t rows : {1, 64, 65}) compare_one(*backend, formats::Type::F32, n_in, 17, rows);
  }
  compare_one(*backend, formats::Type::Q8_0, 96, 65, 130);
  compare_one(*backend, formats::Type::Q4_0, 32, 1, 1);
  compare_one(*backend, formats::Type::Q4_0, 32, 1, 0);
}

// Two products of one input are added one after the other; then the heads of one tensor, which are one launch.
TEST_F(CudaBackwardProducts, SeveralOfOneInputAndBatches) {
  for (const int64_t at_once : {kValuesAtOnce, int64_t{64 * 25}, int64_t{64 * 7}}) {
    compute::cuda::values_at_once = at_once;
    const auto backend = cuda();
    constexpr int64_t kHeads = 3, kIn = 64, kOut = 20, kInStep = 80, kOutStep = 24;
    RandomWeight heads(formats::Type::Q5_1, kIn, kOut, kHeads, 1);
    compare(*backend, heads.get(), 12, kIn, kHeads * kOutStep,
            [](const Weight& w, Matrix x, Matrix out, const Routing*) {
              std::vector<Product> all;
              for (int64_t h = 0; h < kHeads; ++h) all.push_back({&w, h, x, out.columns(h * kOutStep, kOut)});
              return all;
            });
    compare(*backend, heads.get(), 12, kHeads * kInStep, kHeads * kOutStep,
            [](const Weight& w, Matrix x, Matrix out, const Routing*) {
              std::vector<Product> all;
              for (int64_t h = 0; h < kHeads; ++h)
                all.push_back({&w, h, x.columns(h * kInStep, kIn), out.columns(h * kOutStep, kOut)});
              return all;
            });
  }
}

TEST_F(CudaBackwardProducts, Experts) {
  struct Case {
    int64_t n_tokens, n_used, n_expert;
  };
  for (const Case& each : {Case{1, 2, 5}, Case{3, 4, 70}, Case{100, 2, 3}}) {
    SCOPED_TRACE(std::to_string(each.n_tokens) + " tokens, " + std::to_string(each.n_expert) + " experts");
    for (const int64_t at_once : {kValuesAtOnce, int64_t{256 * 25}, int64_t{256 * 7}}) {
      compute::cuda::values_at_once = at_once;
      const auto backend = cuda();
      for (const formats::Type type : {formats::Type::IQ2_XS, formats::Type::BF16, formats::Type::Q4_K}) {
        RandomWeight weight(type, 256, 10, each.n_expert, 1);
        RoutingMemory routing(each.n_tokens, each.n_used, each.n_expert);
        fill_randomly(routing.get(), 2);
        compare(
            *backend, weight.get(), each.n_tokens * each.n_used, 256, 10,
            [](const Weight& w, Matrix x, Matrix out, const Routing* r) {
              return std::vector<Product>{{&w, 0, x, out, r}};
            },
            &routing.get());
      }
    }
  }
}

TEST_F(CudaBackwardProducts, AllSchedules) {
  std::vector<float> first;
  cuda_emulator::under_all_schedules([&] {
    const auto backend = cuda();
    compare_one(*backend, formats::Type::Q5_1, 160, 9, 2);
    compare_one(*backend, formats::Type::IQ3_S, 256, 66, 65);
    if (first.empty()) first = results_;
    EXPECT_EQ(results_, first);
  });
}

// Scales become what they are told to be, and the values with them; everything else stays.
TEST_F(CudaBackwardProducts, WriteScales) {
  const auto backend = cuda();
  for (const formats::Format* format : types()) {
    SCOPED_TRACE(std::string(format->name));
    RandomWeight weight(format->type, 512, 7, 3, 1);
    const Weight& host = weight.get();
    const size_t n_bytes = static_cast<size_t>(host.row_bytes() * host.n_out * host.n_slices);
    std::vector<std::byte> expected(host.data, host.data + n_bytes), found(n_bytes);
    std::vector<float> scales = scales_of(host);
    for (size_t i = 0; i < scales.size(); ++i) scales[i] *= i % 5 == 0 ? -1e30f : 0.37f;
    const DeviceValues<float> device_scales(*backend, scales);
    const Weight loaded = backend->load(host);
    backend->write_scales(loaded, device_scales.data());
    backend->download(found.data(), loaded.data, n_bytes);
    Weight own = host;
    own.data = expected.data();
    ref_->write_scales(own, scales.data());
    EXPECT_EQ(found, expected);
  }
}

}  // namespace
}  // namespace steelyard::compute

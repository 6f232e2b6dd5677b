// Matrix products of every type against the reference: single rows and many, shapes that no tile divides, batches of
// heads, experts, both precisions, old devices, all schedules.
#include <cmath>

#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

class CudaProducts : public CudaTest {
 protected:
  static std::vector<const formats::Format*> types() {
    std::vector<const formats::Format*> types;
    for (const formats::Format* format : formats::all_formats()) {
      if (format->decode != nullptr && format->encoder != nullptr) types.push_back(format);
    }
    return types;
  }

  // Of a product's scale: F32 sums in another order; int8 activations, whose error has a deviation of 0.4 % of their
  // own; bfloat16, 0.11 %. Five deviations.
  static float tolerance(Precision precision, const formats::Format& format) {
    if (precision == Precision::kExact) return 2e-6f;
    return format.is_quantized() ? 2e-2f : 6e-3f;
  }

  void compare(Backend& backend, Precision precision, formats::Type type, int64_t n_in, int64_t n_out, int64_t n) {
    SCOPED_TRACE(std::string(format(type).name) + " " + std::to_string(n_in) + " to " + std::to_string(n_out) + ", " +
                 std::to_string(n) + " rows");
    RandomWeight weight(type, n_in, n_out, 1, 11);
    Activations x(n, n_in, 12), found(n, n_out, 13), expected(n, n_out, 13);
    DeviceMatrix device_x(backend, x), out(backend, found);
    backend.mul_mat(backend.load(weight.get()), 0, device_x.matrix(), out.matrix());
    out.download();
    ref_->mul_mat(weight.get(), 0, x.matrix(), expected.matrix());
    expect_close(found.matrix(), expected.matrix(), tolerance(precision, format(type)),
                 std::sqrt(static_cast<float>(n_in)));
    EXPECT_TRUE(found.untouched_outside());
  }
};

TEST_F(CudaProducts, EveryTypeRowByRow) {
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto backend = cuda(precision);
    for (const formats::Format* format : types()) {
      compare(*backend, precision, format->type, 512, 37, 1);
      compare(*backend, precision, format->type, 256, 5, 3);
    }
  }
}

TEST_F(CudaProducts, EveryTypeInTiles) {
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto backend = cuda(precision);
    for (const formats::Format* format : types()) compare(*backend, precision, format->type, 256, 70, 21);
  }
}

TEST_F(CudaProducts, DevicesWithoutTensorCores) {
  cuda_emulator::config().compute_capability = 75;
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto backend = cuda(precision);
    for (const formats::Type type :
         {formats::Type::Q4_K, formats::Type::IQ2_S, formats::Type::BF16, formats::Type::F32}) {
      compare(*backend, precision, type, 256, 70, 21);
    }
  }
}

// The types that ptx_products.cu has, through each of their kernels.
TEST_F(CudaProducts, EveryKernelOfSomeTypes) {
  for (const int capability : {75, 80}) {
    cuda_emulator::config().compute_capability = capability;
    for (const Precision precision : {Precision::kExact, Precision::kFast}) {
      const auto backend = cuda(precision);
      for (const formats::Type type :
           {formats::Type::F32, formats::Type::BF16, formats::Type::Q8_0, formats::Type::Q5_1, formats::Type::Q4_K,
            formats::Type::IQ2_XS, formats::Type::IQ3_S}) {
        compare(*backend, precision, type, 256, 5, 1);
        compare(*backend, precision, type, 256, 66, 9);
      }
    }
  }
}

// As tensor cores of two generations round their sums.
TEST_F(CudaProducts, RoundingOfTensorCores) {
  for (const auto mode : {cuda_emulator::MmaMode::kSm80, cuda_emulator::MmaMode::kSm90}) {
    cuda_emulator::config().mma = mode;
    const auto backend = cuda();
    compare(*backend, Precision::kExact, formats::Type::Q4_K, 256, 20, 17);
    compare(*backend, Precision::kExact, formats::Type::BF16, 100, 20, 17);
  }
}

TEST_F(CudaProducts, AwkwardWidthsAndManyRows) {
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto backend = cuda(precision);
    for (const formats::Type type : {formats::Type::F32, formats::Type::F16, formats::Type::BF16}) {
      for (const int64_t n_in : {1, 15, 65, 100}) compare(*backend, precision, type, n_in, 3, 9);
      compare(*backend, precision, type, 33, 129, 1);
    }
    compare(*backend, precision, formats::Type::Q8_0, 96, 65, 130);
    compare(*backend, precision, formats::Type::Q4_0, 32, 1, 512);
    compare(*backend, precision, formats::Type::BF16, 48, 140, 512);  // by cuBLAS
  }
}

TEST_F(CudaProducts, AllSchedules) {
  cuda_emulator::under_all_schedules([&] {
    for (const Precision precision : {Precision::kExact, Precision::kFast}) {
      const auto backend = cuda(precision);
      compare(*backend, precision, formats::Type::IQ3_S, 256, 66, 65);
      compare(*backend, precision, formats::Type::Q5_1, 160, 9, 2);
    }
  });
}

// The heads of one tensor in one call, and beside them something else.
TEST_F(CudaProducts, Batches) {
  for (const Precision precision : {Precision::kExact, Precision::kFast}) {
    const auto backend = cuda(precision);
    for (const int64_t n : {1, 12}) {
      constexpr int64_t kHeads = 3, kIn = 64, kOut = 20, kInStep = 80, kOutStep = 24;
      RandomWeight heads(formats::Type::Q8_0, kIn, kOut, kHeads, 1),
          other(formats::Type::BF16, kHeads * kInStep, 7, 1, 2);
      Activations x(n, kHeads * kInStep, 3), found(n, kHeads * kOutStep, 4, 5, 0),
          expected(n, kHeads * kOutStep, 4, 5, 0);
      Activations found_other(n, 7, 5), expected_other(n, 7, 5);
      const Weight device_heads = backend->load(heads.get()), device_other = backend->load(other.get());
      DeviceMatrix device_x(*backend, x), out(*backend, found), out_other(*backend, found_other);
      const auto products = [&](const Weight& many, const Weight& one, Matrix in, Matrix to, Matrix to_other) {
        std::vector<Product> all;
        for (int64_t h = 0; h < kHeads; ++h) {
          all.push_back({&many, h, in.columns(h * kInStep, kIn), to.columns(h * kOutStep, kOut)});
        }
        all.push_back({&one, 0, in, to_other});
        return all;
      };
      backend->mul_mats(products(device_heads, device_other, device_x.matrix(), out.matrix(), out_other.matrix()));
      out.download();
      out_other.download();
      ref_->mul_mats(products(heads.get(), other.get(), x.matrix(), expected.matrix(), expected_other.matrix()));
      expect_close(found.matrix(), expected.matrix(), tolerance(precision, format(formats::Type::Q8_0)), 8.0f);
      expect_close(found_other.matrix(), expected_other.matrix(), tolerance(precision, format(formats::Type::BF16)),
                   8.0f);
      EXPECT_TRUE(found.untouched_outside());
    }
  }
}

TEST_F(CudaProducts, Experts) {
  struct Case {
    int64_t n_tokens, n_used, n_expert;
  };
  for (const Case& each : {Case{1, 2, 5}, Case{7, 1, 3}, Case{3, 4, 70}, Case{100, 2, 3}, Case{33, 8, 40}}) {
    SCOPED_TRACE(std::to_string(each.n_tokens) + " tokens, " + std::to_string(each.n_expert) + " experts");
    for (const formats::Type type : {formats::Type::IQ2_XS, formats::Type::BF16, formats::Type::F16}) {
      for (const Precision precision : {Precision::kExact, Precision::kFast}) {
        const auto backend = cuda(precision);
        RandomWeight weight(type, 256, 10, each.n_expert, 1);
        RoutingMemory routing(each.n_tokens, each.n_used, each.n_expert);
        fill_randomly(routing.get(), 2);
        const int64_t n = each.n_tokens * each.n_used;
        Activations x(n, 256, 3), found(n, 10, 4), expected(n, 10, 4);
        DeviceMatrix device_x(*backend, x), out(*backend, found);
        const DeviceRouting device_routing(*backend, routing.get());
        mul_mat_experts(*backend, backend->load(weight.get()), device_x.matrix(), device_routing.get(), out.matrix());
        out.download();
        mul_mat_experts(*ref_, weight.get(), x.matrix(), routing.get(), expected.matrix());
        expect_close(found.matrix(), expected.matrix(), tolerance(precision, format(type)), 16.0f);
        EXPECT_TRUE(found.untouched_outside());
      }
    }
  }
}

}  // namespace
}  // namespace steelyard::compute

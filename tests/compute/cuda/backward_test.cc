// Backward passes of operations on rows, of experts and of the loss, and steps of Adam, against the reference, over
// awkward shapes and all schedules.
#include <cmath>

#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

constexpr float kTolerance = 1e-5f;

// A vector as a matrix, for comparisons.
Matrix as_row(std::vector<float>& values) {
  const auto n = static_cast<int64_t>(values.size());
  return {values.data(), 1, n, n};
}

class CudaBackward : public CudaTest {
 protected:
  struct Operands {
    Matrix x, y, d, e;  // x and y are only read
    float* sums;        // one per column, and per row
  };
  using Work = std::function<void(Backend&, const Operands&)>;

  void compare(float sigma, const Work& work) {
    struct Shape {
      int64_t rows, cols;
    };
    for (const auto& [rows, cols] :
         {Shape{1, 1}, Shape{1, 64}, Shape{3, 15}, Shape{9, 33}, Shape{5, 300}, Shape{2, 1030}, Shape{300, 7}}) {
      SCOPED_TRACE(std::to_string(rows) + "x" + std::to_string(cols));
      std::vector<float> first;  // results do not depend on the schedule
      cuda_emulator::under_all_schedules(
          [&, rows = rows, cols = cols] {
            const auto backend = cuda();
            Activations x(rows, cols, 1, 5, sigma), y(rows, cols, 2, 3, sigma), d(rows, cols, 3), e(rows, cols, 4, 7),
                sums(1, std::max(rows, cols), 5, 0);
            DeviceMatrix device_x(*backend, x), device_y(*backend, y), device_d(*backend, d), device_e(*backend, e),
                device_sums(*backend, sums);
            work(*backend, {device_x.matrix(), device_y.matrix(), device_d.matrix(), device_e.matrix(),
                            device_sums.matrix().data});
            Activations expected_d(rows, cols, 3), expected_e(rows, cols, 4, 7),
                expected_sums(1, std::max(rows, cols), 5, 0);
            work(*ref_,
                 {x.matrix(), y.matrix(), expected_d.matrix(), expected_e.matrix(), expected_sums.matrix().data});
            device_d.download();
            device_e.download();
            device_sums.download();
            expect_close(d.matrix(), expected_d.matrix(), kTolerance);
            expect_close(e.matrix(), expected_e.matrix(), kTolerance);
            expect_close(sums.matrix(), expected_sums.matrix(), kTolerance);
            EXPECT_TRUE(d.untouched_outside() && e.untouched_outside() && sums.untouched_outside());
            std::vector<float> all;
            for (Activations* each : {&d, &e, &sums}) append(all, each->matrix());
            if (first.empty()) first = all;
            EXPECT_EQ(all, first);
          },
          {1, 2});
    }
  }
};

TEST_F(CudaBackward, RmsNorm) {
  for (const float sigma : {1e-6f, 1.0f, 1e4f}) {
    compare(sigma, [](Backend& b, const Operands& on) {
      b.rms_norm_backward(on.x, on.y.data, 1e-5f, on.d, on.e, on.sums);
      b.rms_norm_backward(on.x, on.y.data, 1e-5f, on.e, on.d, nullptr);
    });
  }
}

TEST_F(CudaBackward, Softcap) {
  compare(20, [](Backend& b, const Operands& on) { b.softcap_backward(on.x, 30.0f, on.d); });
}

TEST_F(CudaBackward, Gated) {
  for (const Activation activation : {Activation::kSwiglu, Activation::kGeglu, Activation::kClampedSwiglu}) {
    for (const float sigma : {1.0f, 30.0f, 1e15f}) {
      compare(sigma, [=](Backend& b, const Operands& on) { b.gated_backward(activation, on.x, on.y, on.d, on.e); });
    }
  }
}

TEST_F(CudaBackward, SigmoidGate) {
  compare(3, [](Backend& b, const Operands& on) { b.apply_gate_backward(Gate::kSigmoid, on.x, on.y, on.d, on.e); });
  compare(3, [](Backend& b, const Operands& on) {
    b.apply_gate_backward(Gate::kSigmoid, on.x, on.y.columns(0, 1), on.d, on.e.columns(0, 1));
  });
}

// What kernels above do in other ways.
TEST_F(CudaBackward, Options) {
  const auto backend = cuda();
  const std::vector<Activations> operands = {{3, 70, 1, 5, 2.0f}, {3, 70, 2, 3, 2.0f}, {3, 70, 3}, {3, 70, 4, 7}};
  for (const Activation& activation : all_activations()) {
    SCOPED_TRACE(activation.kind);
    expect_same(*backend, operands, kTolerance, [&](Backend& b, const std::vector<Matrix>& on) {
      b.gated_backward(activation, on[0], on[1], on[2], on[3]);
    });
  }
  expect_same(*backend, operands, kTolerance, [](Backend& b, const std::vector<Matrix>& on) {
    b.gated_backward(Activation::kReluSquared, on[0], {}, on[2], {});
    b.rms_norm_backward(on[0], nullptr, 1e-5f, on[2], on[3], nullptr);
  });
  for (const int64_t n : {70, 1}) {
    expect_same(*backend, operands, kTolerance, [&](Backend& b, const std::vector<Matrix>& on) {
      b.apply_gate_backward(Gate::kSoftplus, on[0], on[1].columns(0, n), on[2], on[3].columns(0, n));
    });
  }
}

TEST_F(CudaBackward, SumsOfRows) {
  compare(1, [](Backend& b, const Operands& on) { b.sum_rows(on.x, on.sums); });
  compare(1, [](Backend& b, const Operands& on) { b.row_sum_squares(on.x, on.sums); });
}

// Rotating forth and back changes nothing; the reference rotates back, too.
TEST_F(CudaBackward, Rope) {
  constexpr int64_t kRows = 5, kHeads = 3, kHead = 20, kDims = 12, kPositions = 9, kAngles = kPositions * kDims / 2;
  const auto backend = cuda();
  std::vector<float> cos, sin;
  for (int64_t i = 0; i < kAngles; ++i) {
    cos.push_back(std::cos(static_cast<float>(i)));
    sin.push_back(std::sin(static_cast<float>(i)));
  }
  const DeviceValues<float> device_cos(*backend, cos), device_sin(*backend, sin);
  for (const RopePairs pairs : {RopePairs::kNorm, RopePairs::kNeox}) {
    Activations found(kRows, kHeads * kHead, 1), expected(kRows, kHeads * kHead, 1), before(kRows, kHeads * kHead, 1);
    DeviceMatrix x(*backend, found);
    RopeArgs args{kHeads, kHead, kDims, pairs, device_cos.data(), device_sin.data(), 3, true};
    backend->rope(x.matrix(), args);
    x.download();
    ref_->rope(expected.matrix(), {kHeads, kHead, kDims, pairs, cos.data(), sin.data(), 3, true});
    expect_close(found.matrix(), expected.matrix(), 1e-6f);
    EXPECT_TRUE(found.untouched_outside());
    args.transposed = false;
    backend->rope(x.matrix(), args);
    x.download();
    expect_close(found.matrix(), before.matrix(), 1e-6f);
  }
}

TEST_F(CudaBackward, GatherCombineAndBiases) {
  cuda_emulator::under_all_schedules(
      [&] {
        const auto backend = cuda();
        constexpr int64_t kTokens = 11, kUsed = 3, kExperts = 5, kCols = 137, kSlots = kTokens * kUsed;
        RoutingMemory routing(kTokens, kUsed, kExperts);
        fill_randomly(routing.get(), 2);
        const DeviceRouting device_routing(*backend, routing.get());
        Activations y(kSlots, kCols, 1), dout(kTokens, kCols, 2);
        Activations dy(kSlots, kCols, 3), expected_dy(kSlots, kCols, 3);
        Activations dx(kTokens, kCols, 4), expected_dx(kTokens, kCols, 4);
        DeviceMatrix device_y(*backend, y), device_dout(*backend, dout), device_dy(*backend, dy),
            device_dx(*backend, dx);
        std::vector<float> dweight(kSlots, -1.0f), biases(kExperts * kCols, 0.5f);
        const DeviceValues<float> device_dweight(*backend, dweight), device_biases(*backend, biases);
        const auto work = [](Backend& on, Matrix experts, const Routing& r, Matrix d, Matrix rows, float* weights,
                             float* sums, Matrix to) {
          on.combine_backward(experts, r, d, rows, weights);
          on.sum_rows_experts(rows, r, sums);
          on.gather_backward(rows, r, to);
        };
        work(*backend, device_y.matrix(), device_routing.get(), device_dout.matrix(), device_dy.matrix(),
             device_dweight.data(), device_biases.data(), device_dx.matrix());
        device_dy.download();
        device_dx.download();
        work(*ref_, y.matrix(), routing.get(), dout.matrix(), expected_dy.matrix(), dweight.data(), biases.data(),
             expected_dx.matrix());
        expect_close(dy.matrix(), expected_dy.matrix(), kTolerance);
        expect_close(dx.matrix(), expected_dx.matrix(), kTolerance);
        std::vector<float> found_dweight = device_dweight.values(), found_biases = device_biases.values();
        expect_close(as_row(found_dweight), as_row(dweight), kTolerance);
        expect_close(as_row(found_biases), as_row(biases), kTolerance);
        EXPECT_TRUE(dy.untouched_outside() && dx.untouched_outside());
      },
      {1, 2});
}

TEST_F(CudaBackward, Route) {
  struct Case {
    int64_t n_tokens, n_expert, n_used;
  };
  for (const Case& c : {Case{1, 4, 2}, Case{9, 8, 8}, Case{33, 64, 6}, Case{2, 300, 10}, Case{40, 6, 1}}) {
    for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSoftmaxWeight, Gating::kSqrtSoftplus}) {
      for (const bool normalize : {false, true}) {
        SCOPED_TRACE(std::to_string(c.n_expert) + " experts, gating " + std::to_string(int(gating)));
        const auto backend = cuda();
        Activations logits(c.n_tokens, c.n_expert, 1, 5, 2.0f), dweight(1, c.n_tokens * c.n_used, 2, 0);
        Activations found(c.n_tokens, c.n_expert, 3), expected(c.n_tokens, c.n_expert, 3);
        RoutingMemory routing(c.n_tokens, c.n_used, c.n_expert);
        const RouteArgs args{gating, nullptr, c.n_used, 1, 1, normalize, 2.5f};
        ref_->route(logits.matrix(), args, routing.get());
        DeviceMatrix device_logits(*backend, logits), out(*backend, found);
        const auto device_dweight = row_values(*backend, dweight);
        const DeviceRouting device_routing(*backend, routing.get());
        backend->route_backward(device_logits.matrix(), args, device_routing.get(), device_dweight.data(),
                                out.matrix());
        out.download();
        ref_->route_backward(logits.matrix(), args, routing.get(), dweight.matrix().data, expected.matrix());
        expect_close(found.matrix(), expected.matrix(), kTolerance);
        EXPECT_TRUE(found.untouched_outside());
      }
    }
  }
}

// Targets that name some tokens, without a probability too, and targets that name all; targets that are the model's
// own, whose divergence is small.
TEST_F(CudaBackward, Divergence) {
  for (const int64_t cols : {1, 40, 777}) {
    for (const bool own : {false, true}) {
      SCOPED_TRACE(std::to_string(cols) + (own ? " tokens, its own" : " tokens"));
      cuda_emulator::under_all_schedules(
          [&] {
            const auto backend = cuda();
            constexpr int64_t kRows = 3;
            const int64_t n = own ? cols : std::min<int64_t>(cols, 9);
            Activations found(kRows, cols, 1, 5, 5.0f), expected(kRows, cols, 1, 5, 5.0f);
            std::vector<int32_t> tokens;
            std::vector<float> probs;
            for (int64_t t = 0; t < kRows; ++t) {
              const float* x = found.matrix().row(t);
              double sum = 0;
              for (int64_t i = 0; i < n; ++i) sum += own ? std::exp(1.01 * x[i]) : i % 4;
              for (int64_t i = 0; i < n; ++i) {
                tokens.push_back(!own && i % 4 == 3 ? -1 : static_cast<int32_t>(own ? i : i * 3 % cols));
                // A part of 1 is left to the others.
                probs.push_back(static_cast<float>(n == 1 ? 1 : (own ? std::exp(1.01 * x[i]) : i % 4 / 1.5) / sum));
              }
            }
            std::vector<float> loss(kRows, -1.0f);
            DeviceMatrix logits(*backend, found);
            const DeviceValues<int32_t> device_tokens(*backend, tokens);
            const DeviceValues<float> device_probs(*backend, probs), device_loss(*backend, loss);
            backend->divergence(logits.matrix(), {n, device_tokens.data(), device_probs.data()}, device_loss.data());
            logits.download();
            ref_->divergence(expected.matrix(), {n, tokens.data(), probs.data()}, loss.data());
            // Of the largest probability, which is about 1.
            expect_close(found.matrix(), expected.matrix(), 1e-6f, 1.0f);
            std::vector<float> found_loss = device_loss.values();
            expect_close(as_row(found_loss), as_row(loss), 1e-6f, 1.0f);
            EXPECT_TRUE(found.untouched_outside());
          },
          {1, 2});
    }
  }
}

TEST_F(CudaBackward, Adam) {
  const auto backend = cuda();
  for (const float size : {0.0f, 0.3f}) {
    constexpr size_t kValues = 1000;
    std::vector<float> values, m(kValues, 0.0f), v(kValues, 0.0f);
    Activations start(1, kValues, 1, 0);
    values.assign(start.matrix().data, start.matrix().data + kValues);
    const DeviceValues<float> device_values(*backend, values), device_m(*backend, m), device_v(*backend, v);
    for (uint32_t step = 1; step <= 3; ++step) {
      Activations gradients(1, kValues, 1 + step, 0, 1e-3f);
      gradients.matrix().data[7] = 0;  // a value without a gradient stays as it is
      const auto device_gradients = row_values(*backend, gradients);
      const AdamArgs args{0.01f,
                          size,
                          0.9f,
                          0.99f,
                          static_cast<float>(1 - std::pow(0.9, step)),
                          static_cast<float>(1 - std::pow(0.99, step))};
      backend->adam(args, kValues, device_gradients.data(), device_m.data(), device_v.data(), device_values.data());
      ref_->adam(args, kValues, gradients.matrix().data, m.data(), v.data(), values.data());
    }
    EXPECT_EQ(device_values.values()[7], start.matrix().data[7]);
    std::vector<float> found = device_values.values(), found_m = device_m.values(), found_v = device_v.values();
    expect_close(as_row(found), as_row(values), 1e-6f);
    expect_close(as_row(found_m), as_row(m), 1e-6f);
    expect_close(as_row(found_v), as_row(v), 1e-6f);
  }
}

}  // namespace
}  // namespace steelyard::compute

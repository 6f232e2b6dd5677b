// The gated delta rule and its convolution against the reference, a sequence at once and in pieces.
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

class CudaDeltaNet : public CudaTest {};

TEST_F(CudaDeltaNet, Convolution) {
  cuda_emulator::under_all_schedules([&] {
    const auto backend = cuda();
    constexpr int64_t kCols = 150, kTaps = 4;
    Activations taps(kTaps, kCols, 1, 0), state(kTaps - 1, kCols, 2, 0);
    const auto flat = [](Matrix m) { return std::vector<float>(m.data, m.data + m.rows * m.cols); };
    const DeviceValues<float> device_taps(*backend, flat(taps.matrix())), device_state(*backend, flat(state.matrix()));
    for (const int64_t n : {1, 2, 7}) {
      Activations x(n, kCols, 3), found(n, kCols, 4), expected(n, kCols, 4);
      DeviceMatrix device_x(*backend, x), out(*backend, found);
      backend->causal_conv({device_taps.data(), kTaps}, device_x.matrix(), device_state.data(), out.matrix());
      out.download();
      ref_->causal_conv({taps.matrix().data, kTaps}, x.matrix(), state.matrix().data, expected.matrix());
      expect_close(found.matrix(), expected.matrix(), 1e-6f);
      EXPECT_TRUE(found.untouched_outside());
      EXPECT_EQ(device_state.values(), flat(state.matrix()));
    }
  });
}

TEST_F(CudaDeltaNet, Rule) {
  struct Case {
    int64_t n_head, n_head_k, head;
    bool tiled;
  };
  for (const Case& c : {Case{2, 1, 16, false}, Case{4, 2, 40, true}, Case{4, 2, 128, false}}) {
    SCOPED_TRACE(std::to_string(c.head));
    const auto backend = cuda();
    const auto size = static_cast<size_t>(c.n_head * c.head * c.head);
    std::vector<float> state(size, 0.0f);
    const DeviceValues<float> device_state(*backend, state);
    Activations decay(1, c.n_head, 6, 0), dt(1, c.n_head, 7, 0);
    for (int64_t h = 0; h < c.n_head; ++h) decay.matrix().data[h] = -std::abs(decay.matrix().data[h]);
    const auto device_decay = row_values(*backend, decay), device_dt = row_values(*backend, dt);
    uint32_t seed = 10;
    for (const int64_t n : {6, 1, 3}) {
      const int64_t k_width = c.n_head_k * c.head, v_width = c.n_head * c.head;
      Activations q(n, k_width, ++seed), k(n, k_width, ++seed), v(n, v_width, ++seed);
      Activations beta(n, c.n_head, ++seed), alpha(n, c.n_head, ++seed);
      Activations found(n, v_width, 4), expected(n, v_width, 4);
      DeviceMatrix dq(*backend, q), dk(*backend, k), dv(*backend, v), dbeta(*backend, beta), dalpha(*backend, alpha),
          out(*backend, found);
      backend->delta_rule({dq.matrix(), dk.matrix(), dv.matrix(), dbeta.matrix(), dalpha.matrix(), device_decay.data(),
                           device_dt.data(), c.n_head, c.n_head_k, c.head, c.tiled, 1e-6f},
                          device_state.data(), out.matrix());
      out.download();
      ref_->delta_rule({q.matrix(), k.matrix(), v.matrix(), beta.matrix(), alpha.matrix(), decay.matrix().data,
                        dt.matrix().data, c.n_head, c.n_head_k, c.head, c.tiled, 1e-6f},
                       state.data(), expected.matrix());
      expect_close(found.matrix(), expected.matrix(), 1e-5f);
      EXPECT_TRUE(found.untouched_outside());
    }
    const std::vector<float> found_state = device_state.values();
    for (size_t i = 0; i < size; ++i) ASSERT_NEAR(found_state[i], state[i], 2e-5f);
  }
}

}  // namespace
}  // namespace steelyard::compute

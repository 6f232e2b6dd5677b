// Attention's backward pass on the device against the reference: heads of any width, windows, sinks, latents, in one
// part and in several.
#include "compute/cuda/backward_memory.h"
#include "compute/cuda/on_device.h"

namespace steelyard::compute {
namespace {

constexpr float kTolerance = 2e-5f;

TypedRows typed(Matrix m) {
  return {&format(formats::Type::F32), reinterpret_cast<std::byte*>(m.data), m.rows, m.cols,
          m.stride * static_cast<int64_t>(sizeof(float))};
}

class CudaBackwardAttention : public CudaTest {
 protected:
  void TearDown() override {
    compute::cuda::values_at_once = kValuesAtOnce;
    CudaTest::TearDown();
  }

  struct Case {
    int64_t n_head, n_head_kv, head_k, head_v;
    int64_t past, n;
    int64_t window = 0;
    bool sinks = false;
    bool latent = false;  // values are the first columns of the keys, and so are their gradients
    float softcap = 0;
  };

  void compare(Backend& backend, const Case& c) {
    SCOPED_TRACE(std::to_string(c.n_head) + " heads of " + std::to_string(c.head_k) + ", " + std::to_string(c.past) +
                 " + " + std::to_string(c.n) + ", window " + std::to_string(c.window));
    const int64_t total = c.past + c.n, q_cols = c.n_head * c.head_k, out_cols = c.n_head * c.head_v;
    const int64_t k_cols = c.n_head_kv * c.head_k, v_cols = c.n_head_kv * c.head_v;
    Activations q(c.n, q_cols, 1), k(total, k_cols, 2), v(total, v_cols, 3), dout(c.n, out_cols, 4);
    Activations sinks(1, c.n_head, 5, 0, 3.0f), out(c.n, out_cols, 6);
    struct Gradients {
      Activations dq, dk, dv, dsinks;
      explicit Gradients(const Case& of)
          : dq(of.n, of.n_head * of.head_k, 7),
            dk(of.past + of.n, of.n_head_kv * of.head_k, 8),
            dv(of.past + of.n, of.n_head_kv * of.head_v, 9),
            dsinks(1, of.n_head, 10, 0) {}
    } found(c), expected(c);
    const auto args = [&](Matrix queries, Matrix keys, Matrix values, const float* logits) {
      return AttentionArgs{queries,
                           typed(keys),
                           c.latent ? typed(keys).first_columns(v_cols) : typed(values),
                           c.n_head,
                           c.n_head_kv,
                           c.head_k,
                           c.head_v,
                           0.3f,
                           c.past,
                           c.window,
                           c.sinks ? logits : nullptr,
                           c.softcap};
    };
    const auto gradient = [&](const AttentionArgs& of, Matrix result, Matrix d, Matrix dq, Matrix dk, Matrix dv,
                              float* dsinks) {
      return AttentionGradient{
          of, result, d, dq, dk, c.latent ? dk.columns(0, v_cols) : dv, c.sinks ? dsinks : nullptr};
    };
    const AttentionArgs on_host = args(q.matrix(), k.matrix(), v.matrix(), sinks.matrix().data);
    ref_->attention(on_host, out.matrix());
    const AttentionGradient by_ref =
        gradient(on_host, out.matrix(), dout.matrix(), expected.dq.matrix(), expected.dk.matrix(), expected.dv.matrix(),
                 expected.dsinks.matrix().data);
    ref_->attentions_backward({&by_ref, 1});

    DeviceMatrix device_q(backend, q), device_k(backend, k), device_v(backend, v), device_dout(backend, dout),
        device_out(backend, out);
    DeviceMatrix dq(backend, found.dq), dk(backend, found.dk), dv(backend, found.dv), dsinks(backend, found.dsinks);
    const auto device_sinks = row_values(backend, sinks);
    const AttentionGradient one = gradient(
        args(device_q.matrix(), device_k.matrix(), device_v.matrix(), device_sinks.data()), device_out.matrix(),
        device_dout.matrix(), dq.matrix(), dk.matrix(), dv.matrix(), dsinks.matrix().data);
    backend.attentions_backward({&one, 1});
    for (DeviceMatrix* each : {&dq, &dk, &dv, &dsinks}) each->download();
    expect_close(found.dq.matrix(), expected.dq.matrix(), kTolerance);
    expect_close(found.dk.matrix(), expected.dk.matrix(), kTolerance);
    expect_close(found.dv.matrix(), expected.dv.matrix(), kTolerance);
    expect_close(found.dsinks.matrix(), expected.dsinks.matrix(), kTolerance);
    EXPECT_TRUE(found.dq.untouched_outside() && found.dk.untouched_outside() && found.dv.untouched_outside());
    results_.clear();
    for (Activations* each : {&found.dq, &found.dk, &found.dv, &found.dsinks}) append(results_, each->matrix());
  }

  std::vector<float> results_;  // of the last comparison
  const int64_t kValuesAtOnce = compute::cuda::values_at_once;
};

TEST_F(CudaBackwardAttention, HeadsOfAnyWidth) {
  const auto backend = cuda();
  for (const Case& heads :
       {Case{1, 1, 8, 8, 0, 0}, Case{4, 2, 16, 16, 0, 0}, Case{6, 3, 33, 17, 0, 0}, Case{8, 1, 72, 100, 0, 0}}) {
    for (const auto& [past, n] : {std::pair{0, 1}, {0, 33}, {70, 1}, {31, 5}, {0, 70}}) {
      Case c = heads;
      c.past = past;
      c.n = n;
      compare(*backend, c);
    }
  }
}

TEST_F(CudaBackwardAttention, WindowsAndSinks) {
  const auto backend = cuda();
  for (const int64_t window : {0, 1, 31, 64, 1000}) {
    for (const bool sinks : {false, true}) {
      compare(*backend, {4, 2, 16, 16, 70, 1, window, sinks});
      compare(*backend, {4, 2, 16, 16, 0, 150, window, sinks});
    }
  }
}

TEST_F(CudaBackwardAttention, Softcap) {
  const auto backend = cuda();
  compare(*backend, {4, 2, 16, 24, 10, 33, 0, false, false, 1.0f});
  compare(*backend, {4, 2, 16, 24, 10, 33, 20, true, false, 1.0f});
}

TEST_F(CudaBackwardAttention, Latents) {
  const auto backend = cuda();
  compare(*backend, {5, 1, 576, 512, 0, 7, 0, false, true});
  compare(*backend, {4, 1, 40, 32, 3, 66, 0, false, true});
}

// Some heads and queries at a time.
TEST_F(CudaBackwardAttention, InParts) {
  {
    compute::cuda::values_at_once = 1;
    const auto backend = cuda();
    compare(*backend, {6, 3, 16, 24, 2, 9, 0, true});
  }
  for (const int64_t at_once : {2 * 64 * 80, 4 * 64 * 80}) {
    compute::cuda::values_at_once = at_once;
    const auto backend = cuda();
    compare(*backend, {6, 3, 16, 24, 10, 70, 0, true});
    compare(*backend, {6, 3, 16, 24, 10, 70, 20, true});
    compare(*backend, {4, 1, 40, 32, 3, 66, 0, false, true});
  }
}

TEST_F(CudaBackwardAttention, AllSchedules) {
  std::vector<float> first;
  cuda_emulator::under_all_schedules([&] {
    const auto backend = cuda();
    compare(*backend, {4, 2, 20, 70, 40, 9, 0, true});
    if (first.empty()) first = results_;
    EXPECT_EQ(results_, first);
  });
}

}  // namespace
}  // namespace steelyard::compute

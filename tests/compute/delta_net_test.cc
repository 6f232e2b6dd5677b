// The operations of gated delta net layers: cpu agrees with ref, states carry what one batch would have seen, formulas
// hold where they can be worked out by hand, and every instruction set gives the same bits.
#include "compute/cpu/delta_net.h"

#include "base/parallel.h"
#include "compute/activations.h"

namespace steelyard::compute {
namespace {

struct Shape {
  int64_t n_head, n_head_k, head;
};

// Inputs of one delta rule layer, and states made of zeros.
class DeltaRule : public testing::TestWithParam<Shape> {
 protected:
  struct Inputs {
    Inputs(const Shape& shape, int64_t n, uint32_t seed)
        : qkv(n, (2 * shape.n_head_k + shape.n_head) * shape.head, seed),
          beta(n, shape.n_head, seed + 1),
          alpha(n, shape.n_head, seed + 2, 3, 3.0f),
          decay(1, shape.n_head, seed + 3, 0),
          dt(1, shape.n_head, seed + 4, 0) {
      for (int64_t h = 0; h < shape.n_head; ++h) {
        float& value = decay.matrix().row(0)[h];
        value = -std::abs(value);
      }
    }
    Activations qkv, beta, alpha, decay, dt;
  };

  // Tokens [begin, begin + n) of `in`, from `state` on.
  void run(Backend& backend, Inputs& in, int64_t begin, int64_t n, bool tiled, std::vector<float>& state, Matrix out) {
    const auto [n_head, n_head_k, head] = GetParam();
    const Matrix qkv = in.qkv.matrix().slice(begin, n);
    const int64_t width = n_head_k * head;
    backend.delta_rule({qkv.columns(0, width), qkv.columns(width, width), qkv.columns(2 * width, n_head * head),
                        in.beta.matrix().slice(begin, n), in.alpha.matrix().slice(begin, n), in.decay.matrix().data,
                        in.dt.matrix().data, n_head, n_head_k, head, tiled, 1e-6f},
                       state.data(), out.slice(begin, n));
  }

  std::vector<float> empty_state() const {
    return std::vector<float>(static_cast<size_t>(GetParam().n_head * GetParam().head * GetParam().head));
  }
  int64_t width() const { return GetParam().n_head * GetParam().head; }

  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

INSTANTIATE_TEST_SUITE_P(Shapes, DeltaRule,
                         testing::Values(Shape{1, 1, 1}, Shape{2, 1, 5}, Shape{4, 2, 16}, Shape{6, 2, 20},
                                         Shape{3, 3, 47}, Shape{4, 2, 64}, Shape{4, 4, 128}));

TEST_P(DeltaRule, CpuAgrees) {
  for (const bool tiled : {false, true}) {
    for (const int64_t n : {1, 2, 9, 300}) {
      Inputs in(GetParam(), n, 1);
      Activations found(n, width(), 9), expected(n, width(), 9);
      std::vector<float> cpu_state = empty_state(), ref_state = empty_state();
      run(*cpu_, in, 0, n, tiled, cpu_state, found.matrix());
      run(*ref_, in, 0, n, tiled, ref_state, expected.matrix());
      expect_close(found.matrix(), expected.matrix(), 2e-6f, /*least_scale=*/1.0f);  // of the values
      EXPECT_TRUE(found.untouched_outside());
    }
  }
}

// Only the state is carried: pieces of any length give the bits of the whole.
TEST_P(DeltaRule, PiecesEqualTheWhole) {
  const int64_t n = 280;
  Inputs in(GetParam(), n, 1);
  for (Backend* backend : {cpu_.get(), ref_.get()}) {
    Activations whole(n, width(), 9), pieces(n, width(), 9);
    std::vector<float> state = empty_state(), carried = empty_state();
    run(*backend, in, 0, n, false, state, whole.matrix());
    int64_t begin = 0;
    for (const int64_t piece : {1, 1, 2, 5, 0, 31, 239, 1}) {
      run(*backend, in, begin, piece, false, carried, pieces.matrix());
      begin += piece;
    }
    ASSERT_EQ(begin, n);
    EXPECT_TRUE(identical(whole.matrix(), pieces.matrix())) << backend->name();
    EXPECT_EQ(state, carried) << backend->name();
  }
}

TEST_P(DeltaRule, ThreadsDoNotChangeBits) {
  const int before = omp_get_max_threads();
  Inputs in(GetParam(), 33, 1);
  Activations first(33, width(), 9);
  for (const int threads : {1, 2, 5}) {
    set_thread_count(threads);
    Activations out(33, width(), 9);
    std::vector<float> state = empty_state();
    run(*cpu_, in, 0, 33, true, state, (threads == 1 ? first : out).matrix());
    EXPECT_TRUE(threads == 1 || identical(out.matrix(), first.matrix())) << threads;
  }
  set_thread_count(before);
}

// One head of width 1: the formula by hand, keys and queries normed to a sign.
TEST(DeltaRuleFormula, WidthOne) {
  float q[] = {3.0f, -2.0f}, k[] = {0.5f, 4.0f}, v[] = {1.5f, -2.0f}, beta[] = {0.0f, 2.0f}, alpha[] = {-1.0f, 30.0f};
  const float rate = -0.05f, dt = 0.25f;
  const double sigmoid2 = 1 / (1 + std::exp(-2.0)), decay = std::exp(-0.05 * 30.25);
  const double first = 0.5 * 1.5;  // the state was empty
  const double state = decay * first + sigmoid2 * (-2.0 - decay * first);
  for (const char* name : {"cpu", "ref"}) {
    float s = 0, out[2];
    const auto column = [](float* data) { return Matrix{data, 2, 1, 1}; };
    make_backend(name)->delta_rule(
        {column(q), column(k), column(v), column(beta), column(alpha), &rate, &dt, 1, 1, 1, false, 0.0f}, &s,
        column(out));
    EXPECT_NEAR(out[0], first, 1e-6) << name;
    EXPECT_NEAR(out[1], -state, 1e-6) << name;
    EXPECT_NEAR(s, state, 1e-6) << name;
  }
}

// Four value heads on two key heads, all else equal: grouped heads 0 and 1 agree, tiled heads 0 and 2.
TEST(DeltaRuleFormula, HeadsFindTheirKeys) {
  for (const char* name : {"cpu", "ref"}) {
    for (const bool tiled : {false, true}) {
      Activations qk(1, 2 * 2 * 8, 1, 0), v(1, 4 * 8, 2, 0, 0.0f), zero(1, 4, 3, 0, 0.0f), out(1, 4 * 8, 4, 0);
      for (int64_t c = 0; c < 4 * 8; ++c) v.matrix().row(0)[c] = 1.0f;
      std::vector<float> state(4 * 8 * 8);
      make_backend(name)->delta_rule(
          {qk.matrix().columns(0, 16), qk.matrix().columns(16, 16), v.matrix(), zero.matrix(), zero.matrix(),
           zero.matrix().data, zero.matrix().data, 4, 2, 8, tiled, 1e-6f},
          state.data(), out.matrix());
      const float* o = out.matrix().row(0);
      EXPECT_EQ(o[0] == o[8], !tiled) << name;
      EXPECT_EQ(o[0] == o[16], tiled) << name;
      EXPECT_EQ(o[16] == o[24], !tiled) << name;
    }
  }
}

// Gates far out: nothing overflows, a state that decays to nothing leaves the last token alone.
TEST(DeltaRuleFormula, ExtremeGates) {
  for (const char* name : {"cpu", "ref"}) {
    Activations x(40, 3 * 32, 1), out(40, 32, 2), gates(40, 1, 3, 0, 1e4f);
    const float decay = -1e3f, dt = 0.0f;
    std::vector<float> state(32 * 32);
    const Matrix m = x.matrix();
    make_backend(name)->delta_rule({m.columns(0, 32), m.columns(32, 32), m.columns(64, 32), gates.matrix(),
                                    gates.matrix(), &decay, &dt, 1, 1, 32, false, 1e-6f},
                                   state.data(), out.matrix());
    for (int64_t t = 0; t < 40; ++t) {
      for (int64_t c = 0; c < 32; ++c) ASSERT_TRUE(std::isfinite(out.matrix().row(t)[c])) << name;
    }
  }
}

TEST(CausalConv, CpuAgreesAndPiecesEqualTheWhole) {
  for (const int64_t cols : {1, 7, 64, 300, 515}) {
    for (const int64_t n_taps : {1, 2, 4, 7}) {
      const int64_t n = 21;
      Activations x(n, cols, 1), taps(n_taps, cols, 2, 0), expected(n, cols, 3);
      std::vector<float> whole_state(static_cast<size_t>((n_taps - 1) * cols));
      const auto ref = make_backend("ref");
      ref->causal_conv({taps.matrix().data, n_taps}, x.matrix(), whole_state.data(), expected.matrix());
      for (const char* name : {"cpu", "ref"}) {
        const auto backend = make_backend(name);
        Activations found(n, cols, 3);
        std::vector<float> state(whole_state.size());
        int64_t begin = 0;
        for (const int64_t piece : {1, 2, 1, 0, 12, 5}) {
          backend->causal_conv({taps.matrix().data, n_taps}, x.matrix().slice(begin, piece), state.data(),
                               found.matrix().slice(begin, piece));
          begin += piece;
        }
        ASSERT_EQ(begin, n);
        expect_close(found.matrix(), expected.matrix(), 1e-6f);
        EXPECT_TRUE(found.untouched_outside());
        EXPECT_EQ(state, whole_state) << name;
      }
    }
  }
}

// Taps lie oldest first: a lone last tap passes the current input, a lone first one the input of three tokens ago.
TEST(CausalConv, OrderOfTaps) {
  for (const char* name : {"cpu", "ref"}) {
    Activations x(6, 2, 1), out(6, 2, 2);
    const float taps[] = {1, 0, 0, 0, 0, 0, 0, 1};
    float state[6] = {};
    make_backend(name)->causal_conv({taps, 4}, x.matrix(), state, out.matrix());
    const auto silu = [](double z) { return z / (1 + std::exp(-z)); };
    for (int64_t t = 0; t < 6; ++t) {
      EXPECT_NEAR(out.matrix().row(t)[0], t < 3 ? 0.0 : silu(x.matrix().row(t - 3)[0]), 1e-6) << name;
      EXPECT_NEAR(out.matrix().row(t)[1], silu(x.matrix().row(t)[1]), 1e-6) << name;
    }
  }
}

TEST(SigmoidGate, CpuAgrees) {
  for (const int64_t cols : {1, 3, 16, 37, 100}) {
    for (const int64_t gate_cols : {int64_t{1}, cols}) {
      Activations found(40, cols, 1), expected(40, cols, 1), gate(40, gate_cols, 2, 5, 30.0f);
      make_backend("cpu")->apply_gate(Gate::kSigmoid, found.matrix(), gate.matrix());
      make_backend("ref")->apply_gate(Gate::kSigmoid, expected.matrix(), gate.matrix());
      expect_close(found.matrix(), expected.matrix(), 1e-6f);
      EXPECT_TRUE(found.untouched_outside());
    }
  }
}

TEST(DeltaNetKernels, SameBitsOnEveryInstructionSet) {
  const cpu::DeltaNetKernels& scalar = cpu::delta_net_kernels(simd::Target::kScalar);
  for (const simd::Target target : simd::supported_targets()) {
    const cpu::DeltaNetKernels& tested = cpu::delta_net_kernels(target);
    EXPECT_EQ(tested.target, simd::target_name(target));
    for (const int64_t d : {1, 3, 16, 20, 47, 64, 128, 200}) {
      const int64_t n = 5;
      Activations x(n, 3 * d, 1, 0), gates(3, n, 2, 0), taps(n, d, 3, 0);
      std::vector<std::vector<float>> results;
      for (const cpu::DeltaNetKernels* kernels : {&scalar, &tested}) {
        std::vector<float> state(static_cast<size_t>(d * d)), out(static_cast<size_t>(n * d)), gated(out),
            convolved(out);
        const Matrix m = x.matrix();
        kernels->delta_rule({n, d, m.data, m.data + n * d, gates.matrix().row(0), gates.matrix().row(1),
                             gates.matrix().row(2), m.data + 2 * n * d, out.data(), d, state.data()});
        gated = out;
        kernels->sigmoid_gate(gated.data(), m.data, n * d);
        const float* rows[] = {m.row(0), m.row(1), m.row(2)};
        kernels->conv_silu(rows, taps.matrix().data, d, 3, nullptr, convolved.data(), d);
        out.insert(out.end(), gated.begin(), gated.end());
        out.insert(out.end(), convolved.begin(), convolved.end());
        results.push_back(out);
      }
      EXPECT_EQ(std::memcmp(results[0].data(), results[1].data(), results[0].size() * sizeof(float)), 0) << d;
    }
  }
}

}  // namespace
}  // namespace steelyard::compute

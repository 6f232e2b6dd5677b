// What attention can be asked beside its plain form: scores with a cap, and queries that are told what they see.
#include <random>

#include "compute/activations.h"

namespace steelyard::compute {
namespace {

constexpr int64_t kHeads = 6, kHeadsKv = 2, kHeadK = 20, kHeadV = 24;

TypedRows f32(Matrix x) {
  return {&formats::format(formats::Type::F32), reinterpret_cast<std::byte*>(x.data), x.rows, x.cols,
          x.stride * static_cast<int64_t>(sizeof(float))};
}

struct Operands {
  Operands(int64_t n, int64_t n_keys)
      : q(n, kHeads * kHeadK, 1), k(n_keys, kHeadsKv * kHeadK, 2), v(n_keys, kHeadsKv * kHeadV, 3) {}
  AttentionArgs args() {
    return {q.matrix(), f32(k.matrix()), f32(v.matrix()), kHeads, kHeadsKv, kHeadK, kHeadV, 0.5f, 0};
  }
  Activations q, k, v;
};

// 1 with this probability, else 0.
Activations chosen(int64_t rows, int64_t cols, double share, uint32_t seed) {
  Activations visible(rows, cols, seed);
  std::mt19937 random(seed);
  std::bernoulli_distribution see(share);
  for (int64_t r = 0; r < rows; ++r) std::generate_n(visible.matrix().row(r), cols, [&] { return see(random); });
  return visible;
}

void compare(const AttentionArgs& args) {
  Activations found(args.q.rows, kHeads * kHeadV, 5), expected(args.q.rows, kHeads * kHeadV, 5);
  make_backend("cpu")->attention(args, found.matrix());
  make_backend("ref")->attention(args, expected.matrix());
  expect_close(found.matrix(), expected.matrix(), 2e-5f);
  EXPECT_TRUE(found.untouched_outside());
}

TEST(AttentionOptions, SoftcapOnCpu) {
  for (const int64_t n : {1, 9, 150}) {
    for (const int64_t window : {0, 40}) {
      Operands operands(n, 70 + n);
      AttentionArgs args = operands.args();
      args.first_position = 70;
      args.window = window;
      args.softcap = 1.5f;
      compare(args);
    }
  }
}

// One head of width one whose scores are known.
TEST(AttentionOptions, SoftcapByHand) {
  float q = 2.0f, k[] = {3.0f, -1.0f}, v[] = {1.0f, 5.0f}, out = 0;
  for (const char* name : {"cpu", "ref"}) {
    const auto column = [](float* data, int64_t n) { return Matrix{data, n, 1, 1}; };
    AttentionArgs args{column(&q, 1), f32(column(k, 2)), f32(column(v, 2)), 1, 1, 1, 1, 0.5f, 1};
    args.softcap = 2.0f;
    make_backend(name)->attention(args, column(&out, 1));
    const double first = std::exp(2 * std::tanh(3.0 / 2)), second = std::exp(2 * std::tanh(-1.0 / 2));
    EXPECT_NEAR(out, (first + 5 * second) / (first + second), 1e-6) << name;
  }
}

// As many keys as fill several tiles; with few of them, whole tiles are seen by nobody.
TEST(AttentionOptions, VisibleOnCpu) {
  Activations sinks(1, kHeads, 6);
  for (const int64_t n : {1, 9, 70}) {
    for (const int64_t n_keys : {1, 63, 64, 65, 300}) {
      for (const double share : {0.0, 0.003, 0.1, 0.6, 1.0}) {
        for (const bool sink : {false, true}) {
          Operands operands(n, n_keys);
          Activations visible = chosen(n, n_keys, share, 7);
          AttentionArgs args = operands.args();
          args.visible = visible.matrix();
          args.window = 3;  // does not count
          args.sinks = sink ? sinks.matrix().data : nullptr;
          args.softcap = sink ? 2.0f : 0.0f;
          compare(args);
        }
      }
    }
  }
}

// A mask of what positions see is the same as none.
TEST(AttentionOptions, VisibleAsPositionsSee) {
  constexpr int64_t kPast = 60, kRows = 20, kWindow = 33;
  for (const char* name : {"cpu", "ref"}) {
    Operands operands(kRows, kPast + kRows);
    AttentionArgs args = operands.args();
    args.first_position = kPast;
    args.window = kWindow;
    Activations visible(kRows, kPast + kRows, 1), found(kRows, kHeads * kHeadV, 2), expected(kRows, kHeads * kHeadV, 2);
    for (int64_t t = 0; t < kRows; ++t) {
      for (int64_t s = 0; s < kPast + kRows; ++s)
        visible.matrix().row(t)[s] = s <= kPast + t && s > kPast + t - kWindow ? 1.0f : 0.0f;
    }
    make_backend(name)->attention(args, expected.matrix());
    args.visible = visible.matrix();
    args.first_position = args.window = 0;
    make_backend(name)->attention(args, found.matrix());
    expect_close(found.matrix(), expected.matrix(), 1e-6f);
  }
}

// A query that sees nothing has no result, whatever others of its task see; with a sink alone it has none, either.
TEST(AttentionOptions, NothingVisible) {
  for (const char* name : {"cpu", "ref"}) {
    for (const bool sink : {false, true}) {
      Operands operands(5, 100);
      Activations visible = chosen(5, 100, 0.3, 7), sinks(1, kHeads, 6), out(5, kHeads * kHeadV, 8);
      for (const int64_t blind : {0, 3}) std::fill_n(visible.matrix().row(blind), 100, 0.0f);
      AttentionArgs args = operands.args();
      args.visible = visible.matrix();
      args.sinks = sink ? sinks.matrix().data : nullptr;
      make_backend(name)->attention(args, out.matrix());
      for (int64_t t = 0; t < 5; ++t) {
        for (int64_t c = 0; c < kHeads * kHeadV; ++c)
          ASSERT_EQ(out.matrix().row(t)[c] == 0, t == 0 || t == 3) << name << t;
      }
    }
  }
}

// Fewer columns than keys: those beyond are nobody's, and may hold anything.
TEST(AttentionOptions, KeysBeyondTheVisible) {
  for (const char* name : {"cpu", "ref"}) {
    Operands operands(3, 90);
    Activations visible = chosen(3, 40, 0.5, 7), few(3, kHeads * kHeadV, 8), all(3, kHeads * kHeadV, 8);
    AttentionArgs args = operands.args();
    args.visible = visible.matrix();
    make_backend(name)->attention(args, all.matrix());
    std::fill_n(operands.k.matrix().row(40), operands.k.matrix().stride * 40, NAN);
    make_backend(name)->attention(args, few.matrix());
    EXPECT_TRUE(identical(few.matrix(), all.matrix())) << name;
  }
}

}  // namespace
}  // namespace steelyard::compute

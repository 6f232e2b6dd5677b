// Backward operations of the cpu backend against the reference, over awkward shapes, and their bits for any number of
// threads. Those of products and of attention have files of their own.
#include <numeric>

#include "base/parallel.h"
#include "compute/differences.h"
#include "support.h"

namespace steelyard::compute {
namespace {

struct Shape {
  int64_t rows, cols;
};

constexpr double kTolerance = 1e-5;

class BackwardCpu : public testing::TestWithParam<Shape> {
 protected:
  using Results = std::vector<Numbers>;

  // work(backend) returns what it computed.
  template <typename Work>
  void compare(const Work& work) {
    const int before = omp_get_max_threads();
    set_thread_count(1);
    const Results expected = work(*ref_), found = work(*cpu_);
    for (size_t i = 0; i < expected.size(); ++i) {
      if (std::ranges::all_of(expected[i], [](double d) { return d == 0; }))  // of a limit that all exceed
        EXPECT_EQ(found[i], expected[i]) << i;
      else
        EXPECT_LE(largest_error(found[i], expected[i]), kTolerance) << i;
    }
    for (const int threads : {2, 5}) {
      set_thread_count(threads);
      EXPECT_EQ(work(*cpu_), found) << threads << " threads";
    }
    set_thread_count(before);
  }

  void compare_gates(Gate kind) {
    for (const int64_t n : {cols_, int64_t{1}}) {
      Activations x(rows_, cols_, 1), gate(rows_, n, 2, 3, 3.0f);
      compare([&](Backend& backend) {
        Activations d(rows_, cols_, 3);
        GradientSum dgate(rows_, n, 4);
        backend.apply_gate_backward(kind, x.matrix(), gate.matrix(), d.matrix(), dgate.matrix());
        return Results{values(d), dgate.added()};
      });
    }
  }

  static Numbers values(Activations& x) {
    EXPECT_TRUE(x.untouched_outside());
    return numbers(x.matrix());
  }
  const int64_t rows_ = GetParam().rows, cols_ = GetParam().cols;
  const std::unique_ptr<Backend> cpu_ = make_backend("cpu"), ref_ = make_backend("ref");
};

INSTANTIATE_TEST_SUITE_P(Shapes, BackwardCpu,
                         testing::Values(Shape{1, 1}, Shape{1, 64}, Shape{3, 15}, Shape{8, 16}, Shape{9, 17},
                                         Shape{17, 31}, Shape{65, 33}, Shape{2, 300}, Shape{65, 513}),
                         [](const auto& instance) {
                           return std::to_string(instance.param.rows) + "x" + std::to_string(instance.param.cols);
                         });

TEST_P(BackwardCpu, RmsNorm) {
  for (const float sigma : {1e-3f, 1.0f, 1e3f}) {
    Activations x(rows_, cols_, 1, 5, sigma), weight(1, cols_, 2, 0), dout(rows_, cols_, 3, 7);
    compare([&](Backend& backend) {
      // Gradients with respect to an input are as large as its inverse.
      Activations dx(rows_, cols_, 4, 3, 0.1f / sigma);
      GradientSum dweight(1, cols_, 5);
      backend.rms_norm_backward(x.matrix(), weight.matrix().data, 1e-5f, dout.matrix(), dx.matrix(), dweight.data());
      return Results{values(dx), dweight.added()};
    });
    compare([&](Backend& backend) {
      Activations dx(rows_, cols_, 4, 3, 0.1f / sigma);
      backend.rms_norm_backward(x.matrix(), nullptr, 1e-5f, dout.matrix(), dx.matrix(), nullptr);
      return Results{values(dx)};
    });
  }
}

TEST_P(BackwardCpu, Softcap) {
  Activations out(rows_, cols_, 1, 5, 20.0f);
  ref_->softcap(out.matrix(), 30.0f);
  compare([&](Backend& backend) {
    Activations d(rows_, cols_, 2);
    backend.softcap_backward(out.matrix(), 30.0f, d.matrix());
    return Results{values(d)};
  });
}

TEST_P(BackwardCpu, Gated) {
  for (const Activation& activation : all_activations()) {
    const bool limited = activation.limit > 0 || activation.kind == Activation::kClampedSwiglu;
    for (const float sigma : {1e-3f, 1.0f, 9.0f, 1e3f}) {
      if (sigma > 9 && limited) continue;  // hardly anything has a gradient
      Activations gate(rows_, cols_, 1, 5, sigma), up(rows_, cols_, 2, 3, sigma);
      compare([&](Backend& backend) {
        Activations d(rows_, cols_, 3), dup(rows_, cols_, 4, 7, 0.1f * sigma);
        backend.gated_backward(activation, gate.matrix(), up.matrix(), d.matrix(), dup.matrix());
        return Results{values(d), values(dup)};
      });
    }
  }
}

TEST_P(BackwardCpu, ReluSquaredAlone) {
  Activations gate(rows_, cols_, 1);
  compare([&](Backend& backend) {
    Activations d(rows_, cols_, 3);
    backend.gated_backward(Activation::kReluSquared, gate.matrix(), {}, d.matrix(), {});
    return Results{values(d)};
  });
}

TEST_P(BackwardCpu, SigmoidGate) { compare_gates(Gate::kSigmoid); }
TEST_P(BackwardCpu, SoftplusGate) { compare_gates(Gate::kSoftplus); }

TEST_P(BackwardCpu, RopeTransposed) {
  const int64_t n_dims = cols_ / 3 / 2 * 2;
  if (n_dims == 0) return;
  Activations cos(rows_ + 7, n_dims / 2, 1, 0), sin(rows_ + 7, n_dims / 2, 2, 0);
  for (const RopePairs pairs : {RopePairs::kNorm, RopePairs::kNeox}) {
    compare([&](Backend& backend) {
      Activations x(rows_, cols_, 3);
      backend.rope(x.matrix(), {3, cols_ / 3, n_dims, pairs, cos.matrix().data, sin.matrix().data, 7, true});
      return Results{values(x)};
    });
  }
}

TEST_P(BackwardCpu, Sums) {
  Activations x(rows_, cols_, 1);
  compare([&](Backend& backend) {
    GradientSum sums(1, cols_, 2);
    backend.sum_rows(x.matrix(), sums.data());
    return Results{sums.added()};
  });
  compare([&](Backend& backend) {
    Activations sums(1, rows_, 3);
    backend.row_sum_squares(x.matrix(), sums.matrix().data);
    return Results{values(sums)};
  });
}

TEST_P(BackwardCpu, Experts) {
  for (const int64_t n_used : {1, 3}) {
    constexpr int64_t kExperts = 5;
    RoutingMemory memory(rows_, n_used, kExperts);
    fill_randomly(memory.get(), 5);
    const Routing& routing = memory.get();
    Activations drows(routing.n_slots(), cols_, 1), y(routing.n_slots(), cols_, 2), dout(rows_, cols_, 3);
    compare([&](Backend& backend) {
      GradientSum sums(1, kExperts * cols_, 4);
      backend.sum_rows_experts(drows.matrix(), routing, sums.data());
      return Results{sums.added()};
    });
    compare([&](Backend& backend) {
      GradientSum dx(rows_, cols_, 4);
      backend.gather_backward(drows.matrix(), routing, dx.matrix());
      return Results{dx.added()};
    });
    compare([&](Backend& backend) {
      GradientSum dy(routing.n_slots(), cols_, 4);
      Activations dweight(1, routing.n_slots(), 5);
      backend.combine_backward(y.matrix(), routing, dout.matrix(), dy.matrix(), dweight.matrix().data);
      return Results{dy.added(), values(dweight)};
    });
  }
}

TEST_P(BackwardCpu, Route) {
  const int64_t n_used = std::min<int64_t>(3, cols_);
  Activations logits(rows_, cols_, 1), dweight(1, rows_ * n_used, 2);
  for (const Gating gating : {Gating::kSoftmax, Gating::kSigmoid, Gating::kSqrtSoftplus}) {
    const RouteArgs args{gating, nullptr, n_used, 1, 1, cols_ > 1, 2.5f};
    RoutingMemory routing(rows_, n_used, cols_);
    ref_->route(logits.matrix(), args, routing.get());
    if (gating == Gating::kSoftmax && cols_ == 1) continue;  // of one expert, a constant
    compare([&](Backend& backend) {
      GradientSum dlogits(rows_, cols_, 3);
      backend.route_backward(logits.matrix(), args, routing.get(), dweight.matrix().data, dlogits.matrix());
      return Results{dlogits.added()};
    });
  }
}

// Targets of few tokens, some without a probability, of fewer than there are places, and of all tokens.
TEST_P(BackwardCpu, Divergence) {
  if (cols_ == 1) return;  // of one token there is only one distribution
  std::mt19937 random(5);
  for (const int64_t n : {int64_t{3}, cols_}) {
    std::vector<int32_t> tokens(static_cast<size_t>(rows_ * n));
    std::vector<float> probs(tokens.size());
    for (int64_t t = 0; t < rows_; ++t) {
      const std::span row = std::span(probs).subspan(static_cast<size_t>(t * n), static_cast<size_t>(n));
      for (float& p : row) p = std::uniform_real_distribution<float>(0.1f, 1.0f)(random);
      if (n > 2) row[1] = 0;
      const float sum = std::accumulate(row.begin(), row.end(), 0.0f);
      for (float& p : row) p /= sum;
    }
    for (int64_t i = 0; i < rows_ * n; ++i)
      tokens[static_cast<size_t>(i)] = i % n < cols_ ? static_cast<int32_t>((i / n + i % n) % cols_) : -1;
    const TargetRows target{n, tokens.data(), probs.data()};
    compare([&](Backend& backend) {
      Activations logits(rows_, cols_, 1, 5, 4.0f), losses(1, rows_, 2);
      backend.divergence(logits.matrix(), target, losses.matrix().data);
      return Results{values(logits), values(losses)};
    });
  }
}

TEST_P(BackwardCpu, Adam) {
  const int64_t n = rows_ * cols_;
  for (const float size : {0.0f, 0.3f}) {
    compare([&](Backend& backend) {
      Activations m(1, n, 1, 0, 0.0f), v(1, n, 2, 0, 0.0f), x(1, n, 3);
      for (uint32_t step = 1; step <= 3; ++step) {
        Activations gradients(1, n, 10 + step);
        gradients.matrix().data[0] = 0;
        const auto one = [&](float beta) { return 1.0f - std::pow(beta, static_cast<float>(step)); };
        const AdamArgs args{0.05f, size, 0.9f, 0.95f, one(0.9f), one(0.95f)};
        backend.adam(args, n, gradients.matrix().data, m.matrix().data, v.matrix().data, x.matrix().data);
      }
      return n > 1 ? Results{values(x), values(m), values(v)} : Results{values(x)};
    });
  }
}

}  // namespace
}  // namespace steelyard::compute

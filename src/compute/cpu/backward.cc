// Backward passes of the operations on rows, of experts and of the loss, and the step of Adam.
#include <algorithm>
#include <cmath>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

// Columns of a sum over rows that one task owns: the same order of addition for any number of threads.
constexpr int64_t kColumns = 64;

// body(begin, n) for runs of the columns.
template <typename Body>
void for_columns(int64_t cols, const Body& body) {
  parallel_for((cols + kColumns - 1) / kColumns, 1,
               [&](int64_t part) { body(part * kColumns, std::min(kColumns, cols - part * kColumns)); });
}

}  // namespace

void CpuBackend::rms_norm_backward(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* dweight) {
  const auto n = static_cast<float>(x.cols);
  std::vector<float> scales(static_cast<size_t>(x.rows));
  parallel_for(x.rows, 16, [&](int64_t t) {
    const float* in = x.row(t);
    const float* d = dout.row(t);
    float* to = dx.row(t);
    const float scale = 1.0f / std::sqrt(kernels_.dot(in, in, x.cols) / n + eps);
    scales[static_cast<size_t>(t)] = scale;
    double dot = 0;
    const auto gain = [&](int64_t c) { return weight != nullptr ? weight[c] : 1.0f; };
    for (int64_t c = 0; c < x.cols; ++c) dot += static_cast<double>(d[c] * gain(c) * in[c]);
    const float pull = scale * scale * scale * static_cast<float>(dot) / n;
    for (int64_t c = 0; c < x.cols; ++c) to[c] += d[c] * gain(c) * scale - in[c] * pull;
  });
  if (dweight == nullptr) return;
  for_columns(x.cols, [&](int64_t begin, int64_t n_cols) {
    double sums[kColumns] = {};
    for (int64_t t = 0; t < x.rows; ++t) {
      const float scale = scales[static_cast<size_t>(t)];
      for (int64_t c = 0; c < n_cols; ++c)
        sums[c] += static_cast<double>(dout.row(t)[begin + c] * x.row(t)[begin + c] * scale);
    }
    for (int64_t c = 0; c < n_cols; ++c) dweight[begin + c] += static_cast<float>(sums[c]);
  });
}

void CpuBackend::softcap_backward(Matrix out, float cap, Matrix d) {
  parallel_for(d.rows, 16, [&](int64_t t) {
    for (int64_t c = 0; c < d.cols; ++c) {
      const float tanh = out.row(t)[c] / cap;
      d.row(t)[c] *= 1.0f - tanh * tanh;
    }
  });
}

void CpuBackend::gated_backward(Activation activation, Matrix gate, Matrix up, Matrix d, Matrix dup) {
  if (const cpu::LimitedKernels* const limited = limited_kernels(activation)) {
    if (activation.kind == Activation::kReluSquared) up = dup = gate;  // there need be none
    parallel_for(gate.rows, 8, [&](int64_t t) {
      limited->backward(gate.row(t), up.row(t), d.row(t), dup.row(t), gate.cols, activation.limit, activation.up_limit);
    });
    return;
  }
  const auto kernel = activation.kind == Activation::kSwiglu  ? kernels_.swiglu_backward
                      : activation.kind == Activation::kGeglu ? kernels_.geglu_backward
                                                              : kernels_.clamped_swiglu_backward;
  parallel_for(gate.rows, 8, [&](int64_t t) { kernel(gate.row(t), up.row(t), d.row(t), dup.row(t), gate.cols); });
}

void CpuBackend::apply_gate_backward(Gate kind, Matrix x, Matrix gate, Matrix d, Matrix dgate) {
  // A gate's factor and its derivative.
  struct Factor {
    float value, slope;
  };
  const auto factor = [&](float g) -> Factor {
    const float s = 1.0f / (1.0f + std::exp(-g));
    if (kind == Gate::kSigmoid) return {s, s * (1.0f - s)};
    return {std::max(g, 0.0f) + std::log1p(std::exp(-std::abs(g))), s};
  };
  parallel_for(x.rows, 16, [&](int64_t t) {
    float* dout = d.row(t);
    if (gate.cols == 1) {
      const auto [value, slope] = factor(*gate.row(t));
      *dgate.row(t) += kernels_.dot(dout, x.row(t), x.cols) * slope;
      kernels_.scale(dout, x.cols, value);
      return;
    }
    for (int64_t c = 0; c < x.cols; ++c) {
      const auto [value, slope] = factor(gate.row(t)[c]);
      dgate.row(t)[c] += dout[c] * x.row(t)[c] * slope;
      dout[c] *= value;
    }
  });
}

void CpuBackend::gather_backward(Matrix drows, const Routing& routing, Matrix dx) {
  parallel_for(routing.n_tokens, 16, [&](int64_t t) {
    for (int64_t slot = t * routing.n_used; slot < (t + 1) * routing.n_used; ++slot)
      kernels_.add_scaled(drows.row(routing.row[slot]), 1.0f, dx.row(t), dx.cols);
  });
}

void CpuBackend::combine_backward(Matrix y, const Routing& routing, Matrix dout, Matrix dy, float* dweight) {
  parallel_for(routing.n_tokens, 16, [&](int64_t t) {
    for (int64_t slot = t * routing.n_used; slot < (t + 1) * routing.n_used; ++slot) {
      const int64_t r = routing.row[slot];
      dweight[slot] = kernels_.dot(dout.row(t), y.row(r), y.cols);
      kernels_.add_scaled(dout.row(t), routing.weight[slot], dy.row(r), dy.cols);
    }
  });
}

void CpuBackend::sum_rows(Matrix x, float* sums) {
  for_columns(x.cols, [&](int64_t begin, int64_t n) {
    double totals[kColumns] = {};
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t c = 0; c < n; ++c) totals[c] += static_cast<double>(x.row(t)[begin + c]);
    }
    for (int64_t c = 0; c < n; ++c) sums[begin + c] += static_cast<float>(totals[c]);
  });
}

void CpuBackend::row_sum_squares(Matrix x, float* sums) {
  parallel_for(x.rows, 16, [&](int64_t t) { sums[t] = kernels_.dot(x.row(t), x.row(t), x.cols); });
}

void CpuBackend::divergence(Matrix logits, const TargetRows& target, float* loss) {
  parallel_for(logits.rows, 1, [&](int64_t t) {
    float* x = logits.row(t);
    const int32_t* tokens = target.tokens + t * target.n;
    const float* probs = target.probs + t * target.n;
    const float max = kernels_.largest(x, logits.cols);
    double cross = 0, rest_p = 1;  // sum p (log p - x)
    for (int64_t i = 0; i < target.n; ++i) {
      if (tokens[i] < 0) continue;
      const auto p = static_cast<double>(probs[i]);
      if (p > 0) cross += p * (std::log(p) - static_cast<double>(x[tokens[i]] - max));
      rest_p -= p;
    }
    const float sum = kernels_.exponentials(x, logits.cols, max);
    double rest_q = 1;
    std::vector<float> gradients(static_cast<size_t>(target.n));
    for (int64_t i = 0; i < target.n; ++i) {
      if (tokens[i] < 0) continue;
      const float q = x[tokens[i]] / sum;
      rest_q -= static_cast<double>(q);
      gradients[static_cast<size_t>(i)] = q - probs[i];
    }
    const double named_p = 1 - rest_p;
    rest_q = std::max(rest_q, kLeastRest);
    if (rest_p < kLeastRest) rest_p = 0;
    const double log_sum = std::log(static_cast<double>(sum));
    loss[t] = static_cast<float>(cross + log_sum * named_p + (rest_p > 0 ? rest_p * std::log(rest_p / rest_q) : 0.0));
    kernels_.scale(x, logits.cols, static_cast<float>(1 - rest_p / rest_q) / sum);
    for (int64_t i = 0; i < target.n; ++i) {
      if (tokens[i] >= 0) x[tokens[i]] = gradients[static_cast<size_t>(i)];
    }
  });
}

void CpuBackend::adam(const AdamArgs& args, int64_t n, const float* gradients, float* m, float* v, float* values) {
  constexpr int64_t kValues = 4096;
  parallel_for((n + kValues - 1) / kValues, 1, [&](int64_t part) {
    for (int64_t i = part * kValues; i < std::min(n, (part + 1) * kValues); ++i) {
      const float g = gradients[i];
      m[i] = args.beta1 * m[i] + (1.0f - args.beta1) * g;
      v[i] = args.beta2 * v[i] + (1.0f - args.beta2) * g * g;
      if (v[i] == 0) continue;
      const float size = args.size > 0 ? args.size : std::abs(values[i]);
      values[i] -= args.rate * size * (m[i] / args.correction1) / std::sqrt(v[i] / args.correction2);
    }
  });
}

}  // namespace steelyard::compute

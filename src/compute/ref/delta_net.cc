// The operations of gated delta net layers as their formulas.
#include <cmath>
#include <vector>

#include "compute/ref/ref_backend.h"

namespace steelyard::compute {
namespace {

double sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

// ln(1 + e^z); far above 0 that is z.
double softplus(double z) { return z > 20.0 ? z : std::log1p(std::exp(z)); }

// x / sqrt(sum of squares + eps).
std::vector<double> l2_normed(const float* x, int64_t n, double eps) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  std::vector<double> out(x, x + n);
  for (double& value : out) value /= std::sqrt(sum + eps);
  return out;
}

}  // namespace

void RefBackend::apply_gate(Gate kind, Matrix x, Matrix gate) {
  STEELYARD_CHECK(gate.rows == x.rows && (gate.cols == x.cols || gate.cols == 1));
  for (int64_t t = 0; t < x.rows; ++t) {
    for (int64_t c = 0; c < x.cols; ++c) {
      const double g = gate.row(t)[gate.cols == 1 ? 0 : c];
      x.row(t)[c] = static_cast<float>(x.row(t)[c] * (kind == Gate::kSigmoid ? sigmoid(g) : softplus(g)));
    }
  }
}

void RefBackend::causal_conv(const ConvArgs& args, Matrix x, float* state, Matrix out) {
  const int64_t n_past = args.n_past();
  for (int64_t c = 0; c < x.cols; ++c) {
    std::vector<float> inputs;  // the past, then x
    for (int64_t i = 0; i < n_past; ++i) inputs.push_back(state[i * x.cols + c]);
    for (int64_t t = 0; t < x.rows; ++t) inputs.push_back(x.row(t)[c]);
    for (int64_t t = 0; t < x.rows; ++t) {
      double sum = args.bias != nullptr ? args.bias[c] : 0.0f;
      for (int64_t i = 0; i < args.n_taps; ++i) {
        sum += static_cast<double>(args.taps[i * x.cols + c]) * inputs[static_cast<size_t>(t + i * args.dilation)];
      }
      out.row(t)[c] = static_cast<float>(args.silu ? sum * sigmoid(sum) : sum);
    }
    for (int64_t i = 0; i < n_past; ++i) state[i * x.cols + c] = inputs[x.rows + i];
  }
}

// state: [n_head, head of the key, head of the value].
void RefBackend::delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) {
  const int64_t d = args.head;
  for (int64_t h = 0; h < args.n_head; ++h) {
    float* s = state + h * d * d;
    for (int64_t t = 0; t < out.rows; ++t) {
      const std::vector<double> q = l2_normed(args.q.row(t) + args.key_head(h) * d, d, args.eps);
      const std::vector<double> k = l2_normed(args.k.row(t) + args.key_head(h) * d, d, args.eps);
      // Of every row of the state; by_channel() or not.
      std::vector<double> decay;
      for (int64_t i = 0; i < d; ++i) {
        const int64_t at = args.by_channel() ? h * d + i : h;
        const double z = static_cast<double>(args.alpha.row(t)[at]) + args.dt[at];
        decay.push_back(
            std::exp(args.bound < 0 ? args.bound * sigmoid(-args.decay[h] * z) : args.decay[h] * softplus(z)));
      }
      const double beta = sigmoid(args.beta.row(t)[h]);
      for (int64_t c = 0; c < d; ++c) {
        double recalled = 0;
        for (int64_t i = 0; i < d; ++i) recalled += decay[i] * s[i * d + c] * k[i];
        const double correction = beta * (args.v.row(t)[h * d + c] - recalled);
        double answer = 0;
        for (int64_t i = 0; i < d; ++i) {
          s[i * d + c] = static_cast<float>(decay[i] * s[i * d + c] + k[i] * correction);
          answer += s[i * d + c] * q[i];
        }
        out.row(t)[h * d + c] = static_cast<float>(answer / std::sqrt(static_cast<double>(d)));
      }
    }
  }
}

}  // namespace steelyard::compute

// The operations of gated delta net layers: heads, columns or rows over threads, inner loops in delta_net.simd.cc.
#include "compute/cpu/delta_net.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

// Columns that one task convolves.
constexpr int64_t kConvColumns = 256;
// Tokens that are prepared at once: their keys, queries and values stay in the second-level cache while all blocks of
// the state are updated.
constexpr int64_t kRuleTokens = 64;

// Both forms keep the exponential from overflowing.
float sigmoid(float z) {
  const float a = std::exp(-std::abs(z));
  return (z < 0 ? a : 1.0f) / (1.0f + a);
}

float softplus(float z) { return std::max(z, 0.0f) + std::log1p(std::exp(-std::abs(z))); }

}  // namespace

void CpuBackend::apply_gate(Gate kind, Matrix x, Matrix gate) {
  STEELYARD_CHECK(gate.rows == x.rows && (gate.cols == x.cols || gate.cols == 1));
  parallel_for(x.rows, 16, [&](int64_t t) {
    float* const row = x.row(t);
    const float* const gates = gate.row(t);
    if (gate.cols == 1 && x.cols > 1) {
      kernels_.scale(row, x.cols, kind == Gate::kSigmoid ? sigmoid(*gates) : softplus(*gates));
    } else if (kind == Gate::kSigmoid) {
      delta_net_.sigmoid_gate(row, gates, x.cols);
    } else {
      for (int64_t c = 0; c < x.cols; ++c) row[c] *= softplus(gates[c]);
    }
  });
}

// One task owns its columns of the state.
void CpuBackend::causal_conv(const ConvArgs& args, Matrix x, float* state, Matrix out) {
  const auto kernel = args.silu ? delta_net_.conv_silu : delta_net_.conv;
  const int64_t n_taps = args.n_taps, n_past = args.n_past();
  parallel_for((x.cols + kConvColumns - 1) / kConvColumns, 1, [&](int64_t part) {
    const int64_t begin = part * kConvColumns, n = std::min(kConvColumns, x.cols - begin);
    std::vector<float> past(static_cast<size_t>(n_past * n));
    for (int64_t i = 0; i < n_past; ++i) std::copy_n(state + i * x.cols + begin, n, past.data() + i * n);
    // Row t of the inputs, counted from the first of x.
    const auto input = [&](int64_t t) { return t < 0 ? past.data() + (n_past + t) * n : x.row(t) + begin; };
    std::vector<const float*> rows(static_cast<size_t>(n_taps));
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t i = 0; i < n_taps; ++i) rows[i] = input(t - n_past + i * args.dilation);
      kernel(rows.data(), args.taps + begin, x.cols, n_taps, args.bias != nullptr ? args.bias + begin : nullptr,
             out.row(t) + begin, n);
    }
    for (int64_t i = 0; i < n_past; ++i) std::copy_n(input(x.rows - n_past + i), n, state + i * x.cols + begin);
  });
}

// One task is one head. Some tokens are prepared, then the kernel applies them to the state, block by block.
void CpuBackend::delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) {
  const bool by_channel = args.by_channel();
  const int64_t d = args.head, n_prepared = std::min(kRuleTokens, out.rows), n_decays = by_channel ? d : 1;
  parallel_for(args.n_head, 1, [&](int64_t h) {
    std::vector<float> k(static_cast<size_t>(n_prepared * d)), q(k.size()), v(k.size());
    std::vector<float> kq(static_cast<size_t>(n_prepared)), decay(kq.size() * static_cast<size_t>(n_decays)),
        beta(kq.size()), decayed_k(by_channel ? k.size() : 0);
    for (int64_t begin = 0; begin < out.rows; begin += n_prepared) {
      const int64_t n = std::min(n_prepared, out.rows - begin);
      for (int64_t i = 0; i < n; ++i) {
        const int64_t t = begin + i;
        const float* key = args.k.row(t) + args.key_head(h) * d;
        const float* query = args.q.row(t) + args.key_head(h) * d;
        const float key_scale = 1.0f / std::sqrt(kernels_.dot(key, key, d) + args.eps);
        const float query_scale = 1.0f / std::sqrt((kernels_.dot(query, query, d) + args.eps) * static_cast<float>(d));
        for (int64_t c = 0; c < d; ++c) {
          k[i * d + c] = key[c] * key_scale;
          q[i * d + c] = query[c] * query_scale;
        }
        std::copy_n(args.v.row(t) + h * d, d, &v[i * d]);
        kq[i] = kernels_.dot(&k[i * d], &q[i * d], d);
        beta[i] = sigmoid(args.beta.row(t)[h]);
        for (int64_t c = 0; c < n_decays; ++c) {
          const float z = args.alpha.row(t)[h * n_decays + c] + args.dt[h * n_decays + c];
          decay[i * n_decays + c] =
              std::exp(args.bound < 0 ? args.bound * sigmoid(-args.decay[h] * z) : args.decay[h] * softplus(z));
        }
        for (int64_t c = 0; by_channel && c < d; ++c) {
          decayed_k[i * d + c] = k[i * d + c] * decay[i * d + c];
          q[i * d + c] *= decay[i * d + c];
        }
      }
      delta_net_.delta_rule({n, d, k.data(), q.data(), kq.data(), decay.data(), beta.data(), v.data(),
                             out.row(begin) + h * d, out.stride, state + h * d * d,
                             by_channel ? decayed_k.data() : nullptr});
    }
  });
}

}  // namespace steelyard::compute

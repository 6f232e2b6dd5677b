// Gated delta net (Yang, Kautz, Hatamizadeh 2024; in models since Qwen3-Next). Queries, keys and values pass a short
// causal convolution. Then each head reads from and writes to a matrix of fixed size instead of a growing cache. The
// output that it reads is normed and gated.
#include <utility>

#include "model/forward.h"

namespace steelyard {
namespace {

// Sets the state to that of the positions before first_position.
void resume(DeltaNetState& state, int64_t first_position, Pass& pass) {
  if (first_position == 0) {
    pass.backend.zero(state.memory.get(), state.bytes);
    state.n_positions = 0;
  }
  STEELYARD_CHECK(state.n_positions == first_position);
}

std::pair<Matrix, Matrix> both(const Weight& a, const Weight& b, Matrix h, Pass& pass) {
  Products products(pass);
  const std::pair<Matrix, Matrix> out{products.add(a, h), products.add(b, h)};
  products.run();
  return out;
}

// [queries | keys | values] and the gates of the output.
std::pair<Matrix, Matrix> project(const DeltaNetConfig& config, const DeltaNetWeights& w, Matrix h, Pass& pass) {
  if (w.in.empty()) return both(w.qkv, w.gate, h, pass);
  // One key head after the other: its query, its key, the values and gates of its value heads.
  const Matrix all = linear(w.in, h, pass);
  const Matrix qkv = pass.scratch.matrix(h.rows, config.conv_width());
  const Matrix gate = pass.scratch.matrix(h.rows, config.value_width());
  const int64_t d = config.head, values = config.value_width() / config.n_head_k;
  int64_t from = 0;
  const auto take = [&](Matrix to, int64_t begin, int64_t n) {
    pass.backend.copy(all.columns(from, n), to.columns(begin, n));
    from += n;
  };
  for (int64_t head = 0; head < config.n_head_k; ++head) {
    take(qkv, head * d, d);
    take(qkv, config.key_width() + head * d, d);
    take(qkv, 2 * config.key_width() + head * values, values);
    take(gate, head * values, values);
  }
  return {qkv, gate};
}

// The inputs of write strengths and decays, a column per value head.
std::pair<Matrix, Matrix> beta_alpha(const DeltaNetConfig& config, const DeltaNetWeights& w, Matrix h, Pass& pass) {
  if (w.beta_alpha.empty()) return both(w.beta, w.alpha, h, pass);
  // One key head after the other: the betas of its value heads, then their alphas.
  const int64_t n = config.n_head / config.n_head_k;
  const Matrix all = as_heads(linear(w.beta_alpha, h, pass), 2 * n);
  const Matrix beta = pass.scratch.matrix(h.rows, config.n_head), alpha = pass.scratch.matrix(h.rows, config.n_head);
  pass.backend.copy(all.columns(0, n), as_heads(beta, n));
  pass.backend.copy(all.columns(n, n), as_heads(alpha, n));
  return {beta, alpha};
}

}  // namespace

Matrix delta_net(const Layer& layer, Matrix h, int64_t first_position, DeltaNetState& state, Pass& pass) {
  const DeltaNetConfig& config = layer.config.attention.delta_net;
  const DeltaNetWeights& w = layer.weights.attention.delta_net;
  const int64_t k_width = config.key_width(), v_width = config.value_width();
  resume(state, first_position, pass);

  const auto [qkv, gate] = project(config, w, h, pass);
  const auto [beta, alpha] = beta_alpha(config, w, h, pass);
  const Matrix mixed = pass.scratch.matrix(h.rows, config.conv_width());
  pass.backend.causal_conv(qkv, w.conv.data, config.n_taps, state.conv, mixed);
  const Matrix out = pass.scratch.matrix(h.rows, v_width);
  pass.backend.delta_rule(
      {mixed.columns(0, k_width), mixed.columns(k_width, k_width), mixed.columns(2 * k_width, v_width), beta, alpha,
       w.decay.data, w.dt.data, config.n_head, config.n_head_k, config.head, config.tiled, pass.norm_eps},
      state.rule, out);
  state.n_positions += h.rows;

  const Matrix heads = as_heads(out, config.head);
  pass.backend.rms_norm(heads, w.norm.data, pass.norm_eps, heads);
  pass.backend.gated(Activation::kSwiglu, gate, out);  // silu(gate) * out
  return linear(w.output, gate, pass);
}

}  // namespace steelyard

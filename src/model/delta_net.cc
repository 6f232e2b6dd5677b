// Gated delta net (Yang, Kautz, Hatamizadeh 2024; in models since Qwen3-Next). Queries, keys and values pass a short
// causal convolution. Then each head reads from and writes to a matrix of fixed size instead of a growing cache. The
// output that it reads is normed and gated.
#include <utility>

#include "model/forward.h"

namespace steelyard::model {
namespace {

// What the recurrence reads, a row for each token.
struct Inputs {
  Matrix qkv;          // [queries | keys | values]
  Matrix beta, alpha;  // of write strengths and decays, a column per value head
};

// The part of a sequence that its state passes through: convolution and delta rule.
void recur(const Layer& layer, const SequenceSlice& sequence, const Inputs& in, Matrix out, ForwardContext& ctx) {
  const DeltaNetConfig& config = layer.config.attention.delta_net;
  const DeltaNetWeights& w = layer.weights.attention.delta_net;
  const int64_t k_width = config.key_width(), v_width = config.value_width();
  float* const rule = resume_state(sequence, ctx);
  const auto rows = [&](Matrix x) { return x.slice(sequence.first_row, sequence.n_rows); };
  const Matrix mixed = ctx.scratch.matrix(sequence.n_rows, config.conv_width());
  ctx.backend.causal_conv({w.conv.data, config.n_taps}, rows(in.qkv), rule + config.rule_values(), mixed);
  ctx.backend.delta_rule({mixed.columns(0, k_width), mixed.columns(k_width, k_width),
                          mixed.columns(2 * k_width, v_width), rows(in.beta), rows(in.alpha), w.decay.data, w.dt.data,
                          config.n_head, config.n_head_k, config.head, config.tiled, ctx.norm_eps},
                         rule, rows(out));
}

std::pair<Matrix, Matrix> both(const Weight& a, const Weight& b, Matrix h, ForwardContext& ctx) {
  Products products(ctx);
  const std::pair<Matrix, Matrix> out{products.add(a, h), products.add(b, h)};
  products.run();
  return out;
}

// [queries | keys | values] and the gates of the output.
std::pair<Matrix, Matrix> project(const DeltaNetConfig& config, const DeltaNetWeights& w, Matrix h,
                                  ForwardContext& ctx) {
  if (w.in.empty()) return both(w.qkv, w.gate, h, ctx);
  // One key head after the other: its query, its key, the values and gates of its value heads.
  const Matrix all = linear(w.in, h, ctx);
  const Matrix qkv = ctx.scratch.matrix(h.rows, config.conv_width());
  const Matrix gate = ctx.scratch.matrix(h.rows, config.value_width());
  const int64_t d = config.head, values = config.value_width() / config.n_head_k;
  int64_t from = 0;
  const auto take = [&](Matrix to, int64_t begin, int64_t n) {
    ctx.backend.copy(all.columns(from, n), to.columns(begin, n));
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
std::pair<Matrix, Matrix> beta_alpha(const DeltaNetConfig& config, const DeltaNetWeights& w, Matrix h,
                                     ForwardContext& ctx) {
  if (w.beta_alpha.empty()) return both(w.beta, w.alpha, h, ctx);
  // One key head after the other: the betas of its value heads, then their alphas.
  const int64_t n = config.n_head / config.n_head_k;
  const Matrix all = as_heads(linear(w.beta_alpha, h, ctx), 2 * n);
  const Matrix beta = ctx.scratch.matrix(h.rows, config.n_head), alpha = ctx.scratch.matrix(h.rows, config.n_head);
  ctx.backend.copy(all.columns(0, n), as_heads(beta, n));
  ctx.backend.copy(all.columns(n, n), as_heads(alpha, n));
  return {beta, alpha};
}

}  // namespace

Matrix delta_net(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const DeltaNetConfig& config = layer.config.attention.delta_net;
  const DeltaNetWeights& w = layer.weights.attention.delta_net;
  const auto [qkv, gate] = project(config, w, h, ctx);
  const auto [beta, alpha] = beta_alpha(config, w, h, ctx);
  const Matrix out = ctx.scratch.matrix(h.rows, config.value_width());
  for (const SequenceSlice& sequence : sequences) recur(layer, sequence, {qkv, beta, alpha}, out, ctx);

  const Matrix heads = as_heads(out, config.head);
  ctx.backend.rms_norm(heads, w.norm.data, ctx.norm_eps, heads);
  if (config.sigmoid_gate) {
    ctx.backend.apply_gate(compute::Gate::kSigmoid, out, gate);
    return linear(w.output, out, ctx);
  }
  ctx.backend.gated(compute::Activation::kSwiglu, gate, out);  // silu(gate) * out
  return linear(w.output, gate, ctx);
}

}  // namespace steelyard::model

// Kimi delta attention (Kimi Linear report, 2025): the delta rule of gated delta nets, whose state forgets every key
// channel at a pace of its own. Queries, keys and values pass causal convolutions; the output is normed and gated.
#include "model/forward.h"

namespace steelyard::model {
namespace {

struct Projections {
  Matrix q, k, v;      // [n, width] each
  Matrix decay, gate;  // [n, width], of key channels and of the output
  Matrix beta;         // [n, n_head]: of write strengths
};

Projections project(const KimiDeltaConfig& config, const AttentionWeights& attention, Matrix h, ForwardContext& ctx) {
  const KimiDeltaWeights& w = attention.kimi_delta;
  Projections out;
  Products products(ctx);
  if (attention.qkv.empty()) {
    out.q = products.add(attention.q, h);
    out.k = products.add(attention.k, h);
    out.v = products.add(attention.v, h);
  } else {
    const Matrix all = products.add(attention.qkv, h);
    out.q = all.columns(0, config.width());
    out.k = all.columns(config.width(), config.width());
    out.v = all.columns(2 * config.width(), config.width());
  }
  out.beta = products.add(w.beta, h);
  const bool low_rank = w.gate.empty();
  const Matrix decay = products.add(w.decay_in, h), gate = products.add(low_rank ? w.gate_in : w.gate, h);
  products.run();
  Products second(ctx);
  out.decay = second.add(w.decay_out, decay);
  out.gate = low_rank ? second.add(w.gate_out, gate) : gate;
  second.run();
  return out;
}

// The part of a sequence that its state passes through: convolutions and delta rule.
void recur(const Layer& layer, const SequenceSlice& sequence, const Projections& in, Matrix out, ForwardContext& ctx) {
  const KimiDeltaConfig& config = layer.config.attention.kimi_delta;
  const KimiDeltaWeights& w = layer.weights.attention.kimi_delta;
  float* const rule = resume_state(sequence, ctx);
  float* past = rule + config.rule_values();
  const auto rows = [&](Matrix x) { return x.slice(sequence.first_row, sequence.n_rows); };
  const auto convolved = [&](Matrix x, const Vector& taps) {
    const Matrix mixed = ctx.scratch.matrix(sequence.n_rows, config.width());
    ctx.backend.causal_conv({taps.data, config.n_taps}, rows(x), past, mixed);
    past += config.conv_values();
    return mixed;
  };
  const Matrix q = convolved(in.q, w.conv_q), k = convolved(in.k, w.conv_k), v = convolved(in.v, w.conv_v);
  const float eps = config.eps > 0 ? config.eps : ctx.norm_eps;
  ctx.backend.delta_rule({q, k, v, rows(in.beta), rows(in.decay), w.decay.data, w.dt.data, config.n_head, config.n_head,
                          config.head, false, eps, config.bound},
                         rule, rows(out));
}

}  // namespace

Matrix kimi_delta(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const KimiDeltaConfig& config = layer.config.attention.kimi_delta;
  const AttentionWeights& w = layer.weights.attention;
  const Projections in = project(config, w, h, ctx);
  const Matrix out = ctx.scratch.matrix(h.rows, config.width());
  for (const SequenceSlice& sequence : sequences) recur(layer, sequence, in, out, ctx);

  const Matrix heads = as_heads(out, config.head);
  ctx.backend.rms_norm(heads, w.kimi_delta.norm.data, ctx.norm_eps, heads);
  ctx.backend.apply_gate(compute::Gate::kSigmoid, out, in.gate);
  return linear(w.output, out, ctx);
}

}  // namespace steelyard::model

// Mamba 2 (Dao, Gu 2024). Values, and what they are written and read with, pass a short causal convolution. Then each
// head keeps a state of fixed size. What is read from it is gated and normed, in groups.
#include "model/forward.h"

namespace steelyard::model {
namespace {

// The part of a sequence that its state passes through: convolution and recurrence.
void recur(const Layer& layer, const SequenceSlice& sequence, Matrix in, Matrix step, Matrix out, ForwardContext& ctx) {
  const StateSpaceConfig& config = layer.config.attention.state_space;
  const StateSpaceWeights& w = layer.weights.attention.state_space;
  const int64_t inner = config.inner(), width = config.n_group * config.n_state;
  float* const rule = resume_state(sequence, ctx);
  const auto rows = [&](Matrix x) { return x.slice(sequence.first_row, sequence.n_rows); };
  const Matrix mixed = ctx.scratch.matrix(sequence.n_rows, config.conv_width());
  ctx.backend.causal_conv({w.conv.data, config.n_taps, w.conv_bias.data}, rows(in), rule + config.rule_values(), mixed);
  ctx.backend.state_space(
      {mixed.columns(0, inner), mixed.columns(inner, width), mixed.columns(inner + width, width), rows(step), w.dt.data,
       w.decay.data, w.skip.data, config.n_head, config.head, config.n_group, config.n_state},
      rule, rows(out));
}

}  // namespace

Matrix state_space(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const StateSpaceConfig& config = layer.config.attention.state_space;
  const StateSpaceWeights& w = layer.weights.attention.state_space;
  const Matrix all = linear(w.in, h, ctx);
  const Matrix gate = all.columns(0, config.inner()), in = all.columns(config.inner(), config.conv_width());
  const Matrix step = all.columns(config.inner() + config.conv_width(), config.n_head);
  const Matrix out = ctx.scratch.matrix(h.rows, config.inner());
  for (const SequenceSlice& sequence : sequences) recur(layer, sequence, in, step, out, ctx);

  ctx.backend.gated(compute::Activation::kSwiglu, gate, out);  // silu(gate) * out
  const int64_t width = config.inner() / config.n_group;
  for (int64_t group = 0; group < config.n_group; ++group) {
    const Matrix columns = gate.columns(group * width, width);
    ctx.backend.rms_norm(columns, w.norm.data + group * width, ctx.norm_eps, columns);
  }
  return linear(w.output, gate, ctx);
}

}  // namespace steelyard::model

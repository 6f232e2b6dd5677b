// Short convolution (Liquid AI, LFM2): a causal convolution over a few tokens, gated before and after. Its state is the
// last inputs of the convolution.
#include "model/forward.h"

namespace steelyard::model {

Matrix short_conv(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const ShortConvConfig& config = layer.config.attention.short_conv;
  const ShortConvWeights& w = layer.weights.attention.short_conv;
  constexpr compute::Activation kProduct{compute::Activation::kProduct};
  const Matrix all = linear(w.in, h, ctx);
  const Matrix in = all.columns(0, config.width), gate = all.columns(config.width, config.width);
  ctx.backend.gated(kProduct, in, all.columns(2 * config.width, config.width));
  const Matrix out = ctx.scratch.matrix(h.rows, config.width);
  for (const SequenceSlice& sequence : sequences) {
    float* const state = resume_state(sequence, ctx);
    const auto rows = [&](Matrix x) { return x.slice(sequence.first_row, sequence.n_rows); };
    ctx.backend.causal_conv({.taps = w.conv.data, .n_taps = config.n_taps, .silu = false}, rows(in), state, rows(out));
  }
  ctx.backend.gated(kProduct, gate, out);
  return linear(w.output, gate, ctx);
}

}  // namespace steelyard::model

#include "model/forward.h"

namespace steelyard::model {

Matrix Products::add(const Weight& weight, Matrix x, const Routing* routing) {
  if (ctx_.observer != nullptr) {
    if (routing != nullptr)
      ctx_.observer->experts(ctx_.backend, weight, x, *routing);
    else
      ctx_.observer->dense(ctx_.backend, weight, 0, x);
  }
  const Matrix out = ctx_.scratch.matrix(x.rows, weight.n_out);
  products_.push_back({&weight, 0, x, out, routing});
  return out;
}

void add_bias(Matrix y, const Vector& bias, ForwardContext& ctx) {
  if (bias.data != nullptr) ctx.backend.add_row(y, bias.data);
}

Matrix linear(const Weight& weight, Matrix x, ForwardContext& ctx, const Vector& bias) {
  Products one(ctx);
  const Matrix out = one.add(weight, x);
  one.run();
  add_bias(out, bias, ctx);
  return out;
}

Matrix normed(const Vector& weight, Matrix x, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(x.rows, x.cols);
  ctx.backend.rms_norm(x, weight.data, ctx.norm_eps, out);
  return out;
}

namespace {

// What a branch adds to the hidden states: its output, normed where the architecture has a norm there.
Matrix contribution(const Vector& norm, Matrix y, ForwardContext& ctx) {
  return norm.data != nullptr ? normed(norm, y, ctx) : y;
}

Matrix mix(const Layer& layer, Matrix h, int64_t first_position, KvLayer& kv, ForwardContext& ctx) {
  if (layer.config.attention.mixer == Mixer::kDeltaNet) return delta_net(layer, h, first_position, kv.delta_net, ctx);
  STEELYARD_CHECK(first_position + h.rows <= kv.keys.rows);
  const bool latent = layer.config.attention.mixer == Mixer::kLatent;
  return latent ? latent_attention(layer, h, first_position, kv, ctx) : attention(layer, h, first_position, kv, ctx);
}

void add_mixer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const AttentionWeights& attention = layer.weights.attention;
  const Matrix h = normed(attention.norm, x, ctx);
  for (const SequenceSlice& s : sequences) {
    const Matrix y = mix(layer, h.slice(s.first_row, s.n_rows), s.first_position, *s.kv, ctx);
    ctx.backend.add(x.slice(s.first_row, s.n_rows), contribution(attention.branch_norm, y, ctx));
  }
}

void add_ffn(const Layer& layer, Matrix x, ForwardContext& ctx) {
  const Matrix f = normed(layer.weights.ffn.norm, x, ctx);
  ctx.backend.add(x, contribution(layer.weights.ffn.branch_norm, ffn(layer, f, ctx), ctx));
}

}  // namespace

void forward_layer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, ForwardContext& ctx,
                   LayerPart part) {
  STEELYARD_CHECK(layer.backend == &ctx.backend);
  ctx.scratch.reset();
  if (part != LayerPart::kFfn) add_mixer(layer, x, sequences, ctx);
  if (part != LayerPart::kMixer) add_ffn(layer, x, ctx);
}

void forward_layer(const Layer& layer, Matrix x, int64_t first_position, KvLayer& kv, ForwardContext& ctx,
                   LayerPart part) {
  const SequenceSlice all{0, x.rows, first_position, &kv};
  forward_layer(layer, x, std::span(&all, 1), ctx, part);
}

}  // namespace steelyard::model

#include "model/forward.h"

namespace steelyard {

Matrix Products::add(const Weight& weight, Matrix x, const Routing* routing) {
  if (pass_.observer != nullptr) {
    if (routing != nullptr)
      pass_.observer->experts(pass_.backend, weight, x, *routing);
    else
      pass_.observer->dense(pass_.backend, weight, 0, x);
  }
  const Matrix out = pass_.scratch.matrix(x.rows, weight.n_out);
  products_.push_back({&weight, 0, x, out, routing});
  return out;
}

void add_bias(Matrix y, const Vector& bias, Pass& pass) {
  if (bias.data != nullptr) pass.backend.add_row(y, bias.data);
}

Matrix linear(const Weight& weight, Matrix x, Pass& pass, const Vector& bias) {
  Products one(pass);
  const Matrix out = one.add(weight, x);
  one.run();
  add_bias(out, bias, pass);
  return out;
}

Matrix normed(const Vector& weight, Matrix x, Pass& pass) {
  const Matrix out = pass.scratch.matrix(x.rows, x.cols);
  pass.backend.rms_norm(x, weight.data, pass.norm_eps, out);
  return out;
}

namespace {

// What a branch adds to the hidden states: its output, normed where the architecture has a norm there.
Matrix contribution(const Vector& norm, Matrix y, Pass& pass) {
  return norm.data != nullptr ? normed(norm, y, pass) : y;
}

Matrix mix(const Layer& layer, Matrix h, int64_t first_position, KvLayer& kv, Pass& pass) {
  if (layer.config.attention.mixer == Mixer::kDeltaNet) return delta_net(layer, h, first_position, kv.delta_net, pass);
  STEELYARD_CHECK(first_position + h.rows <= kv.keys.rows);
  const bool latent = layer.config.attention.mixer == Mixer::kLatent;
  return latent ? latent_attention(layer, h, first_position, kv, pass) : attention(layer, h, first_position, kv, pass);
}

void add_mixer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, Pass& pass) {
  const AttentionWeights& attention = layer.weights.attention;
  const Matrix h = normed(attention.norm, x, pass);
  for (const SequenceSlice& s : sequences) {
    const Matrix y = mix(layer, h.slice(s.first_row, s.n_rows), s.first_position, *s.kv, pass);
    pass.backend.add(x.slice(s.first_row, s.n_rows), contribution(attention.branch_norm, y, pass));
  }
}

void add_ffn(const Layer& layer, Matrix x, Pass& pass) {
  const Matrix f = normed(layer.weights.ffn.norm, x, pass);
  pass.backend.add(x, contribution(layer.weights.ffn.branch_norm, ffn(layer, f, pass), pass));
}

}  // namespace

void forward_layer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, Pass& pass, LayerPart part) {
  STEELYARD_CHECK(layer.backend == &pass.backend);
  pass.scratch.reset();
  if (part != LayerPart::kFfn) add_mixer(layer, x, sequences, pass);
  if (part != LayerPart::kMixer) add_ffn(layer, x, pass);
}

void forward_layer(const Layer& layer, Matrix x, int64_t first_position, KvLayer& kv, Pass& pass, LayerPart part) {
  const SequenceSlice all{0, x.rows, first_position, &kv};
  forward_layer(layer, x, std::span(&all, 1), pass, part);
}

}  // namespace steelyard

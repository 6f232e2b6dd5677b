#include "model/forward.h"

namespace steelyard {

Matrix linear(const Weight& weight, Matrix x, Pass& pass, const Vector& bias) {
  if (pass.observer != nullptr) pass.observer->dense(pass.backend, weight, 0, x);
  const Matrix out = pass.scratch.matrix(x.rows, weight.n_out);
  pass.backend.mul_mat(weight, 0, x, out);
  if (bias.data != nullptr) pass.backend.add_row(out, bias.data);
  return out;
}

Matrix normed(const Vector& weight, Matrix x, Pass& pass) {
  const Matrix out = pass.scratch.matrix(x.rows, x.cols);
  pass.backend.rms_norm(x, weight.data, pass.norm_eps, out);
  return out;
}

void forward_layer(const Layer& layer, Matrix x, std::span<const SequenceSlice> sequences, Pass& pass) {
  pass.scratch.reset();
  const Matrix normed_rows = normed(layer.weights.attention.norm, x, pass);
  const bool latent = layer.config.attention.mixer == Mixer::kLatent;
  for (const SequenceSlice& s : sequences) {
    STEELYARD_CHECK(s.first_position + s.n_rows <= s.kv->keys.rows);
    const Matrix h = normed_rows.slice(s.first_row, s.n_rows);
    pass.backend.add(x.slice(s.first_row, s.n_rows), latent ? latent_attention(layer, h, s.first_position, *s.kv, pass)
                                                            : attention(layer, h, s.first_position, *s.kv, pass));
  }
  const Matrix f = normed(layer.weights.ffn.norm, x, pass);
  pass.backend.add(x, ffn(layer, f, pass));
}

void forward_layer(const Layer& layer, Matrix x, int64_t first_position, KvLayer& kv, Pass& pass) {
  const SequenceSlice all{0, x.rows, first_position, &kv};
  forward_layer(layer, x, std::span(&all, 1), pass);
}

}  // namespace steelyard

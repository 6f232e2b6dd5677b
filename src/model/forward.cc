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

void forward_layer(const Layer& layer, Matrix x, int64_t first_position, KvLayer& kv, Pass& pass) {
  STEELYARD_CHECK(first_position + x.rows <= kv.keys.rows);
  pass.scratch.reset();
  const Matrix h = normed(layer.weights.attention.norm, x, pass);
  const bool latent = layer.config.attention.mixer == Mixer::kLatent;
  pass.backend.add(x, latent ? latent_attention(layer, h, first_position, kv, pass)
                             : attention(layer, h, first_position, kv, pass));
  const Matrix f = normed(layer.weights.ffn.norm, x, pass);
  pass.backend.add(x, ffn(layer, f, pass));
}

}  // namespace steelyard

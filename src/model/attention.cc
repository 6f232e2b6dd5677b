// Grouped multi-head attention: each key/value head serves n_head / n_head_kv query heads.
#include "model/forward.h"

namespace steelyard {

Matrix attention(const Layer& layer, Matrix h, int64_t first_position, KvLayer& kv, Pass& pass) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const int64_t n = h.rows;

  const Matrix q = linear(w.q, h, pass, w.q_bias);
  const Matrix k = linear(w.k, h, pass, w.k_bias);
  const Matrix v = linear(w.v, h, pass, w.v_bias);
  const auto rope = [&](int64_t n_head) {
    return RopeArgs{n_head,           config.head_k,  config.rope.n_dims, config.rope.pairs,
                    layer.rope.cos,   layer.rope.sin, first_position};
  };
  pass.backend.rope(q, rope(config.n_head));
  pass.backend.rope(k, rope(config.n_head_kv));
  pass.backend.copy(k, kv.keys.slice(first_position, n));
  pass.backend.copy(v, kv.values.slice(first_position, n));

  const int64_t n_keys = first_position + n;
  const Matrix mixed = pass.scratch.matrix(n, config.n_head * config.head_v);
  pass.backend.attention({q, kv.keys.slice(0, n_keys), kv.values.slice(0, n_keys), config.n_head, config.n_head_kv,
                          config.head_k, config.head_v, config.scale, first_position},
                         mixed);
  return linear(w.output, mixed, pass, w.output_bias);
}

}  // namespace steelyard

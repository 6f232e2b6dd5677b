// Grouped multi-head attention: each key/value head serves n_head / n_head_kv query heads.
#include "model/forward.h"

namespace steelyard {
namespace {

struct Projections {
  Matrix q, k, v;  // [n, query_width], [n, n_head_kv * head_k], [n, n_head_kv * head_v], without gaps between rows
};

Projections project(const AttentionConfig& config, const AttentionWeights& w, Matrix h, Pass& pass) {
  if (w.qkv.empty()) {
    Products products(pass);
    const Projections own{products.add(w.q, h), products.add(w.k, h), products.add(w.v, h)};
    products.run();
    add_bias(own.q, w.q_bias, pass);
    add_bias(own.k, w.k_bias, pass);
    add_bias(own.v, w.v_bias, pass);
    return own;
  }
  const Matrix all = linear(w.qkv, h, pass, w.qkv_bias);
  int64_t begin = 0;
  const auto take = [&](int64_t width, const Vector& bias) {
    const Matrix part = pass.scratch.matrix(h.rows, width);
    pass.backend.copy(all.columns(begin, width), part);
    add_bias(part, bias, pass);
    begin += width;
    return part;
  };
  const Matrix q = take(config.query_width(), w.q_bias);
  const Matrix k = take(config.n_head_kv * config.head_k, w.k_bias);
  return {q, k, take(config.n_head_kv * config.head_v, w.v_bias)};
}

// Norms runs of `width` columns in place.
void norm_heads(const Vector& weight, Matrix x, int64_t width, Pass& pass) {
  if (weight.data == nullptr) return;
  const Matrix heads = as_heads(x, width);
  pass.backend.rms_norm(heads, weight.data, pass.norm_eps, heads);
}

// The queries (part 0) or gates (part 1) of every head's [query | gate]: [n, n_head * head].
Matrix part_of_heads(Matrix q, int64_t head, int64_t part, Pass& pass) {
  const Matrix out = pass.scratch.matrix(q.rows, q.cols / 2);
  pass.backend.copy(as_heads(q, 2 * head).columns(part * head, head), as_heads(out, head));
  return out;
}

}  // namespace

Matrix attention(const Layer& layer, Matrix h, int64_t first_position, KvLayer& kv, Pass& pass) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const int64_t n = h.rows;

  const auto [projected, k, v] = project(config, w, h, pass);
  const Matrix q = config.gated ? part_of_heads(projected, config.head_k, 0, pass) : projected;
  norm_heads(w.q_norm, q, config.whole_norm ? q.cols : config.head_k, pass);
  norm_heads(w.k_norm, k, config.whole_norm ? k.cols : config.head_k, pass);
  const auto rope = [&](int64_t n_head) {
    return RopeArgs{n_head,         config.head_k,  config.rope.n_dims, config.rope.pairs,
                    layer.rope.cos, layer.rope.sin, first_position};
  };
  pass.backend.rope(q, rope(config.n_head));
  pass.backend.rope(k, rope(config.n_head_kv));
  pass.backend.store(k, kv.keys.slice(first_position, n));
  pass.backend.store(v, kv.values.slice(first_position, n));

  const int64_t n_keys = first_position + n;
  const Matrix mixed = pass.scratch.matrix(n, config.n_head * config.head_v);
  pass.backend.attention({q, kv.keys.slice(0, n_keys), kv.values.slice(0, n_keys), config.n_head, config.n_head_kv,
                          config.head_k, config.head_v, config.scale, first_position, config.window, w.sinks.data},
                         mixed);
  if (config.gated) pass.backend.sigmoid_gate(mixed, part_of_heads(projected, config.head_k, 1, pass));
  return linear(w.output, mixed, pass, w.output_bias);
}

}  // namespace steelyard

// Grouped multi-head attention: each key/value head serves n_head / n_head_kv query heads.
#include "model/forward.h"

namespace steelyard::model {
namespace {

struct Projections {
  Matrix q, k, v;  // [n, query_width], [n, n_head_kv * head_k], [n, n_head_kv * head_v], without gaps between rows
};

Projections project(const AttentionConfig& config, const AttentionWeights& w, Matrix h, ForwardContext& ctx) {
  if (w.qkv.empty()) {
    Products products(ctx);
    const Projections own{products.add(w.q, h), products.add(w.k, h), products.add(w.v, h)};
    products.run();
    add_bias(own.q, w.q_bias, ctx);
    add_bias(own.k, w.k_bias, ctx);
    add_bias(own.v, w.v_bias, ctx);
    return own;
  }
  const Matrix all = linear(w.qkv, h, ctx, w.qkv_bias);
  int64_t begin = 0;
  const auto take = [&](int64_t width, const Vector& bias) {
    const Matrix part = ctx.scratch.matrix(h.rows, width);
    ctx.backend.copy(all.columns(begin, width), part);
    add_bias(part, bias, ctx);
    begin += width;
    return part;
  };
  const Matrix q = take(config.query_width(), w.q_bias);
  const Matrix k = take(config.n_head_kv * config.head_k, w.k_bias);
  return {q, k, take(config.n_head_kv * config.head_v, w.v_bias)};
}

// Norms runs of `width` columns in place.
void norm_heads(const Vector& weight, Matrix x, int64_t width, ForwardContext& ctx) {
  if (weight.data == nullptr) return;
  const Matrix heads = as_heads(x, width);
  ctx.backend.rms_norm(heads, weight.data, ctx.norm_eps, heads);
}

// The queries (part 0) or gates (part 1) of every head's [query | gate]: [n, n_head * head].
Matrix part_of_heads(Matrix q, int64_t head, int64_t part, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(q.rows, q.cols / 2);
  ctx.backend.copy(as_heads(q, 2 * head).columns(part * head, head), as_heads(out, head));
  return out;
}

}  // namespace

Matrix attention(const Layer& layer, Matrix h, int64_t first_position, KvLayer& kv, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const int64_t n = h.rows;

  const auto [projected, k, v] = project(config, w, h, ctx);
  const Matrix q = config.gated ? part_of_heads(projected, config.head_k, 0, ctx) : projected;
  norm_heads(w.q_norm, q, config.whole_norm ? q.cols : config.head_k, ctx);
  norm_heads(w.k_norm, k, config.whole_norm ? k.cols : config.head_k, ctx);
  const auto rope = [&](int64_t n_head) {
    return compute::RopeArgs{n_head,         config.head_k,  config.rope.n_dims, config.rope.pairs,
                             layer.rope.cos, layer.rope.sin, first_position};
  };
  ctx.backend.rope(q, rope(config.n_head));
  ctx.backend.rope(k, rope(config.n_head_kv));
  ctx.backend.store(k, kv.keys.slice(first_position, n));
  ctx.backend.store(v, kv.values.slice(first_position, n));

  const int64_t n_keys = first_position + n;
  const Matrix mixed = ctx.scratch.matrix(n, config.n_head * config.head_v);
  ctx.backend.attention({q, kv.keys.slice(0, n_keys), kv.values.slice(0, n_keys), config.n_head, config.n_head_kv,
                         config.head_k, config.head_v, config.scale, first_position, config.window, w.sinks.data},
                        mixed);
  if (config.gated) ctx.backend.sigmoid_gate(mixed, part_of_heads(projected, config.head_k, 1, ctx));
  return linear(w.output, mixed, ctx, w.output_bias);
}

}  // namespace steelyard::model

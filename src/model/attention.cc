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

Matrix attention(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;

  const auto [projected, k, v] = project(config, w, h, ctx);
  choose_past(layer, h, {}, {}, sequences, ctx);
  const Matrix q = config.gated ? part_of_heads(projected, config.head_k, 0, ctx) : projected;
  const auto norm_both = [&, k = k] {
    norm_heads(w.q_norm, q, config.whole_norm ? q.cols : config.head_k, ctx);
    norm_heads(w.k_norm, k, config.whole_norm ? k.cols : config.head_k, ctx);
  };
  if (!config.norm_after_rope) norm_both();
  rope_heads(layer, q, config.n_head, config.head_k, sequences, ctx);
  rope_heads(layer, k, config.n_head_kv, config.head_k, sequences, ctx);
  if (config.norm_after_rope) norm_both();
  temper_queries(config, q, sequences, ctx);
  store_keys(k, sequences, ctx);
  store_values(v, sequences, ctx);
  const Matrix mixed = attend({q,
                               {},
                               {},
                               config.n_head,
                               config.n_head_kv,
                               config.head_k,
                               config.head_v,
                               config.scale,
                               0,
                               config.window,
                               w.sinks.data,
                               config.softcap},
                              sequences, ctx);
  if (config.gated)
    ctx.backend.apply_gate(compute::Gate::kSigmoid, mixed, part_of_heads(projected, config.head_k, 1, ctx));
  gate_heads(layer, h, mixed, ctx);
  const Matrix out = linear(w.output, mixed, ctx, w.output_bias);
  if (config.output_scale != 1) ctx.backend.scale(out, config.output_scale);
  return out;
}

}  // namespace steelyard::model

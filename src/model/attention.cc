// Grouped multi-head attention: each key/value head serves n_head / n_head_kv query heads.
#include <tuple>
#include <utility>

#include "model/forward.h"

namespace steelyard::model {
namespace {

struct Projections {
  Matrix q, k, v;  // [n, query_width], [n, n_head_kv * head_k], [n, n_head_kv * head_v], without gaps between rows
};

Matrix copied(Matrix x, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(x.rows, x.cols);
  ctx.backend.copy(x, out);
  return out;
}

// Keys and values among the side columns, ready to be stored.
std::pair<Matrix, Matrix> side_columns(const AttentionConfig& config, Matrix side) {
  return {side.columns(config.side_begin, config.key_width()),
          side.columns(config.side_begin + config.key_width(), config.value_width())};
}

Projections project(const AttentionConfig& config, const AttentionWeights& w, Matrix h, ForwardContext& ctx) {
  if (config.takes_keys()) return {linear(w.q, h, ctx, w.q_bias), {}, {}};
  if (w.qkv.empty()) {
    Products products(ctx);
    const Matrix q = products.add(w.q, h), k = products.add(w.k, h);
    Matrix v = w.v.empty() ? Matrix{} : products.add(w.v, h);
    products.run();
    if (w.v.empty()) v = copied(k, ctx);
    add_bias(q, w.q_bias, ctx);
    add_bias(k, w.k_bias, ctx);
    add_bias(v, w.v_bias, ctx);
    return {q, k, v};
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

// The queries (part 0) or gates (part 1) of every head's [query | gate]: [n, n_head * head].
Matrix part_of_heads(Matrix q, int64_t head, int64_t part, ForwardContext& ctx) {
  const Matrix out = ctx.scratch.matrix(q.rows, q.cols / 2);
  ctx.backend.copy(as_heads(q, 2 * head).columns(part * head, head), as_heads(out, head));
  return out;
}

// Norms runs of `width` columns in place; weight: null for 1.
void norm_runs(const float* weight, Matrix x, int64_t width, ForwardContext& ctx) {
  const Matrix heads = as_heads(x, width);
  ctx.backend.rms_norm(heads, weight, ctx.norm_eps, heads);
}

// Queries or keys, normed and rotated in place.
void place_heads(const Layer& layer, Matrix x, int64_t n_head, const Vector& norm,
                 std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const int64_t width = config.whole_norm ? x.cols : config.head_k;
  if (norm.data != nullptr && !config.norm_after_rope) norm_runs(norm.data, x, width, ctx);
  rope_heads(layer, x, n_head, config.head_k, sequences, ctx);
  if (norm.data != nullptr && config.norm_after_rope) norm_runs(norm.data, x, width, ctx);
}

}  // namespace

Matrix attention(const Layer& layer, Matrix h, Matrix side, std::span<const SequenceSlice> sequences,
                 ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;

  const Projections projected = project(config, w, h, ctx);
  choose_past(layer, h, {}, {}, sequences, ctx);
  const Matrix q = config.gated ? part_of_heads(projected.q, config.head_k, 0, ctx) : projected.q;
  place_heads(layer, q, config.n_head, w.q_norm, sequences, ctx);
  temper_queries(config, q, sequences, ctx);
  Matrix k = projected.k, v = projected.v;
  if (config.takes_keys()) {
    std::tie(k, v) = side_columns(config, side);
    k = copied(k, ctx);
    v = copied(v, ctx);
  } else {
    place_heads(layer, k, config.n_head_kv, w.k_norm, sequences, ctx);
    if (config.value_norm) norm_runs(nullptr, v, config.head_v, ctx);
  }
  if (config.sharing == Sharing::kGives) {
    const auto [keys, values] = side_columns(config, side);
    ctx.backend.copy(k, keys);
    ctx.backend.copy(v, values);
  }
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
    ctx.backend.apply_gate(compute::Gate::kSigmoid, mixed, part_of_heads(projected.q, config.head_k, 1, ctx));
  gate_heads(layer, h, mixed, ctx);
  const Matrix out = linear(w.output, mixed, ctx, w.output_bias);
  if (config.output_scale != 1) ctx.backend.scale(out, config.output_scale);
  return out;
}

}  // namespace steelyard::model

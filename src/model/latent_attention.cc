// Multi-head latent attention (DeepSeek-V2 report, section 2.1), absorbed. Keys and values are not expanded per head
// from the cached latent. Instead each query head is projected into the latent space (attn_k_b), and the result is
// projected back (attn_v_b). All heads share one cached row [latent | roped key] per position.
#include "model/forward.h"

namespace steelyard::model {
namespace {

// Head by head: columns [h * in_step, + n_in) of x pass through slice h into columns [h * out_step, + n_out) of out.
void per_head(const Weight& weight, Matrix x, int64_t in_step, Matrix out, int64_t out_step, ForwardContext& ctx) {
  std::vector<compute::Product> heads;
  for (int64_t h = 0; h < weight.n_slices; ++h) {
    heads.push_back({&weight, h, x.columns(h * in_step, weight.n_in), out.columns(h * out_step, weight.n_out)});
    if (ctx.observer != nullptr) ctx.observer->dense(ctx.backend, weight, h, heads.back().x);
  }
  ctx.backend.mul_mats(heads);
}

struct Projections {
  Matrix q;              // [n, H * head_k]: per head n_nope columns, then the columns for RoPE
  Matrix latent;         // every token's [normed latent | roped key], one for all heads
  Matrix q_latent = {};  // [n, q_lora_rank], normed: what q is projected from
};

Projections project(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const bool low_rank = config.q_lora_rank > 0;
  Products products(ctx);
  const Matrix q = products.add(low_rank ? w.q_a : w.q, h), out = products.add(w.kv_a, h);
  products.run();
  const Matrix latent = out.columns(0, config.kv_lora_rank);
  ctx.backend.rms_norm(latent, w.kv_a_norm.data, ctx.norm_eps, latent);
  rope_heads(layer, out.columns(config.kv_lora_rank, config.rope.n_dims), 1, config.rope.n_dims, sequences, ctx);
  if (!low_rank) return {q, out};
  ctx.backend.rms_norm(q, w.q_a_norm.data, ctx.norm_eps, q);
  return {linear(w.q_b, q, ctx), out, q};
}

// Heads of a fixed width in the columns of x: rotates the last n_dims columns of each.
void rope_ends_of_heads(const Layer& layer, Matrix x, int64_t head_width, std::span<const SequenceSlice> sequences,
                        ForwardContext& ctx) {
  const int64_t begin = head_width - layer.config.attention.rope.n_dims;
  rope_heads(layer, x.columns(begin, x.cols - begin), layer.config.attention.n_head, head_width, sequences, ctx);
}

// [n, H * head_v]: each head's queries against [latent | key]; the weighted sum of latents is projected to values.
Matrix mix_absorbed(const Layer& layer, Matrix h, Matrix side, std::span<const SequenceSlice> sequences,
                    ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const int64_t n = h.rows, n_head = config.n_head, rank = config.kv_lora_rank, width = config.key_width();
  const auto [q, latent, q_latent] = project(layer, h, sequences, ctx);
  const std::vector<Matrix> visible = choose_past(layer, h, q_latent, side, sequences, ctx);
  store_keys(latent, sequences, ctx);

  // Queries in the layout of the cached row: [absorbed | roped] per head.
  const Matrix absorbed = ctx.scratch.matrix(n, n_head * width);
  per_head(w.k_b, q, config.head_k, absorbed, width, ctx);
  for (int64_t head = 0; head < n_head && config.rope.n_dims > 0; ++head) {
    ctx.backend.copy(q.columns(head * config.head_k + config.n_nope(), config.rope.n_dims),
                     absorbed.columns(head * width + rank, config.rope.n_dims));
  }
  rope_ends_of_heads(layer, absorbed, width, sequences, ctx);
  temper_queries(config, absorbed, sequences, ctx);

  const Matrix mixed = attend({absorbed, {}, {}, n_head, 1, width, rank, config.scale, 0}, sequences, ctx, visible);
  const Matrix out = ctx.scratch.matrix(n, n_head * config.head_v);
  per_head(w.v_b, mixed, rank, out, config.head_v, ctx);
  return out;
}

// The same for files that keep attn_kv_b in one tensor: every head's keys and values are computed and cached.
Matrix mix_expanded(const Layer& layer, Matrix h, std::span<const SequenceSlice> sequences, ForwardContext& ctx) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  const int64_t n = h.rows, n_head = config.n_head, n_nope = config.n_nope(), n_rope = config.rope.n_dims;
  const auto [q, latent, q_latent] = project(layer, h, sequences, ctx);
  const Matrix roped = latent.columns(config.kv_lora_rank, n_rope);
  const Matrix expanded = linear(w.kv_b, latent.columns(0, config.kv_lora_rank), ctx);  // per head [key | value]
  const Matrix keys = ctx.scratch.matrix(n, config.key_width()), values = ctx.scratch.matrix(n, config.value_width());
  for (int64_t head = 0; head < n_head; ++head) {
    const int64_t from = head * (n_nope + config.head_v), to = head * config.head_k;
    ctx.backend.copy(expanded.columns(from, n_nope), keys.columns(to, n_nope));
    ctx.backend.copy(roped, keys.columns(to + n_nope, n_rope));
    ctx.backend.copy(expanded.columns(from + n_nope, config.head_v),
                     values.columns(head * config.head_v, config.head_v));
  }
  store_keys(keys, sequences, ctx);
  store_values(values, sequences, ctx);

  rope_ends_of_heads(layer, q, config.head_k, sequences, ctx);
  temper_queries(config, q, sequences, ctx);
  return attend({q, {}, {}, n_head, n_head, config.head_k, config.head_v, config.scale, 0}, sequences, ctx);
}

}  // namespace

Matrix latent_attention(const Layer& layer, Matrix h, Matrix side, std::span<const SequenceSlice> sequences,
                        ForwardContext& ctx) {
  const bool expanded = layer.config.attention.expanded;
  const Matrix mixed = expanded ? mix_expanded(layer, h, sequences, ctx) : mix_absorbed(layer, h, side, sequences, ctx);
  const AttentionWeights& w = layer.weights.attention;
  gate_heads(layer, h, mixed, ctx);
  return linear(w.output, mixed, ctx, w.output_bias);
}

}  // namespace steelyard::model

// Multi-head latent attention (DeepSeek-V2 report, section 2.1), absorbed: instead of expanding keys and values per head
// from the cached latent, each query head is carried into the latent space (attn_k_b) and the mix carried out of it
// (attn_v_b). All heads share one cached row [latent | roped key] per position.
#include "model/forward.h"

namespace steelyard {
namespace {

// [n, H * head_k]: per head n_nope columns, then the columns for RoPE.
Matrix project_queries(const AttentionConfig& config, const AttentionWeights& w, Matrix h, Pass& pass) {
  if (config.q_lora_rank == 0) return linear(w.q, h, pass);
  const Matrix low = linear(w.q_a, h, pass);
  pass.backend.rms_norm(low, w.q_a_norm.data, pass.norm_eps, low);
  return linear(w.q_b, low, pass);
}

// Head by head: columns [h * in_step, + n_in) of x go through slice h to columns [h * out_step, + n_out) of out.
void per_head(const Weight& weight, Matrix x, int64_t in_step, Matrix out, int64_t out_step, Pass& pass) {
  for (int64_t h = 0; h < weight.n_slices; ++h) {
    const Matrix in = x.columns(h * in_step, weight.n_in);
    if (pass.observer != nullptr) pass.observer->dense(pass.backend, weight, h, in);
    pass.backend.mul_mat(weight, h, in, out.columns(h * out_step, weight.n_out));
  }
}

}  // namespace

Matrix latent_attention(const Layer& layer, Matrix h, int64_t first_position, KvLayer& kv, Pass& pass) {
  const AttentionConfig& config = layer.config.attention;
  const AttentionWeights& w = layer.weights.attention;
  Backend& backend = pass.backend;
  const int64_t n = h.rows, n_head = config.n_head;
  const int64_t rank = config.kv_lora_rank, n_rope = config.rope.n_dims, width = config.key_width();
  const auto rope = [&](int64_t heads) {
    return RopeArgs{heads,          width,          n_rope,        config.rope.pairs,
                    layer.rope.cos, layer.rope.sin, first_position};
  };

  // The cached row: normed latent, then one key with RoPE for all heads.
  const Matrix cached = kv.keys.slice(first_position, n);
  backend.copy(linear(w.kv_a, h, pass), cached);
  const Matrix latent = cached.columns(0, rank);
  backend.rms_norm(latent, w.kv_a_norm.data, pass.norm_eps, latent);
  backend.rope(cached.columns(rank, n_rope), rope(1));

  // Queries in the layout of the cached row: [absorbed | roped] per head.
  const Matrix q = project_queries(config, w, h, pass);
  const Matrix absorbed = pass.scratch.matrix(n, n_head * width);
  per_head(w.k_b, q, config.head_k, absorbed, width, pass);
  for (int64_t head = 0; head < n_head; ++head) {
    backend.copy(q.columns(head * config.head_k + config.n_nope(), n_rope),
                 absorbed.columns(head * width + rank, n_rope));
  }
  backend.rope(absorbed.columns(rank, n_head * width - rank), rope(n_head));

  const int64_t n_keys = first_position + n;
  const Matrix mixed = pass.scratch.matrix(n, n_head * rank);
  backend.attention({absorbed, kv.keys.slice(0, n_keys), kv.values.slice(0, n_keys), n_head, 1, width, rank,
                     config.scale, first_position},
                    mixed);
  const Matrix out = pass.scratch.matrix(n, n_head * config.head_v);
  per_head(w.v_b, mixed, rank, out, config.head_v, pass);
  return linear(w.output, out, pass);
}

}  // namespace steelyard

#include "huggingface/rules.h"

#include <cmath>
#include <numbers>

namespace steelyard::huggingface {
namespace {

int64_t n_heads(const Config& config) { return config.integer({"num_attention_heads", "n_head", "n_heads"}); }
View paired_queries(const View& view, const Config& config) { return paired_heads(view, n_heads(config)); }
View paired_keys(const View& view, const Config& config) {
  return paired_heads(view, config.optional_integer({"num_key_value_heads", "n_kv_heads"}).value_or(n_heads(config)));
}

View half(const View& view, int64_t which) {
  const int64_t n = view.shape().size() == 3 ? view.shape()[1] / 2 : -1;
  return view.slice(1, which * n, n);
}

constexpr TensorRule kOuter[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

constexpr TensorRule kAttention[] = {
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias"},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias"},
    {"model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"},
    {"model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias"},
    {"model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"},
    {"model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias"},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight"},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight"},
};

constexpr TensorRule kPairedAttention[] = {
    {"model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", paired_queries},
    {"model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", paired_queries},
    {"model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", paired_keys},
    {"model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", paired_keys},
};

constexpr TensorRule kDense[] = {
    {"model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"},
    {"model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias"},
    {"model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight"},
    {"model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias"},
    {"model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"},
    {"model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias"},
};

constexpr TensorRule kExperts[] = {
    {"model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.mlp.gate.e_score_correction_bias", "blk.{}.exp_probs_b.bias"},
    {"model.layers.{}.mlp.experts.{}.gate_proj.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.mlp.experts.{}.up_proj.weight", "blk.{}.ffn_up_exps.weight"},
    {"model.layers.{}.mlp.experts.{}.down_proj.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_gate_exps.weight", first_half},
    {"model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_up_exps.weight", second_half},
    {"model.layers.{}.mlp.experts.down_proj", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.mlp.shared_experts.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight"},
    {"model.layers.{}.mlp.shared_experts.up_proj.weight", "blk.{}.ffn_up_shexp.weight"},
    {"model.layers.{}.mlp.shared_experts.down_proj.weight", "blk.{}.ffn_down_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert.gate_proj.weight", "blk.{}.ffn_gate_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert.up_proj.weight", "blk.{}.ffn_up_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert.down_proj.weight", "blk.{}.ffn_down_shexp.weight"},
    {"model.layers.{}.mlp.shared_expert_gate.weight", "blk.{}.ffn_gate_inp_shexp.weight"},
};

constexpr TensorRule kPrediction[] = {
    {"model.layers.{}.eh_proj.weight", "blk.{}.nextn.eh_proj.weight"},
    {"model.layers.{}.embed_tokens.weight", "blk.{}.nextn.embed_tokens.weight"},
    {"model.layers.{}.enorm.weight", "blk.{}.nextn.enorm.weight"},
    {"model.layers.{}.hnorm.weight", "blk.{}.nextn.hnorm.weight"},
    {"model.layers.{}.shared_head.head.weight", "blk.{}.nextn.shared_head_head.weight"},
    {"model.layers.{}.shared_head.norm.weight", "blk.{}.nextn.shared_head_norm.weight"},
};

}  // namespace

std::span<const TensorRule> outer_rules() { return kOuter; }
std::span<const TensorRule> attention_rules() { return kAttention; }
std::span<const TensorRule> paired_attention_rules() { return kPairedAttention; }
std::span<const TensorRule> dense_rules() { return kDense; }
std::span<const TensorRule> expert_rules() { return kExperts; }
std::span<const TensorRule> prediction_rules() { return kPrediction; }

View paired_heads(const View& view, int64_t n_head) { return view.split(0, {n_head, 2, -1}).swap(1, 2).merge(0, 3); }

View first_half(const View& view, const Config&) { return half(view, 0); }
View second_half(const View& view, const Config&) { return half(view, 1); }

std::vector<GeneratedTensor> llama3_factors(const Config& config) {
  const json::Json& rope = config.rope();
  const auto type = rope.find("rope_type");
  if (type == rope.end() || !type->is_string() || *type != "llama3") return {};
  const auto real = [&](std::string_view key, double absent) {
    return static_cast<float>(config.rope_real(key).value_or(absent));
  };
  const float base = real("rope_theta", 10000), factor = real("factor", 8);
  const float low = real("low_freq_factor", 1), high = real("high_freq_factor", 4);
  const float original = real("original_max_position_embeddings", 8192);
  const int64_t n_dims = config.head_dim();
  GeneratedTensor tensor{"rope_freqs.weight", {}};
  for (int64_t i = 0; i < n_dims; i += 2) {
    const float frequency = 1.0f / std::pow(base, static_cast<float>(i) / static_cast<float>(n_dims));
    const float length = 2 * std::numbers::pi_v<float> / frequency;
    const float smooth = (original / length - low) / (high - low);
    const float between = 1.0f / ((1.0f - smooth) / factor + smooth);
    tensor.values.push_back(length < original / high ? 1.0f : length > original / low ? factor : between);
  }
  return {tensor};
}

float plus_one(float x) { return x + 1; }

}  // namespace steelyard::huggingface

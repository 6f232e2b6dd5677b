// DeepSeek V2 and V3, Kimi-K2, GLM-4.7-Flash: attention over latents. GGUF has the matrix that makes keys and values of
// them in two parts, that of the keys transposed, so that it can be multiplied with the queries instead.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "Glm4MoeLiteForCausalLM",
                                         "KimiVLForConditionalGeneration", "KimiK25ForConditionalGeneration"};

// [n_head, nope + v, kv_lora_rank]
View heads_of_kv_b(const View& view, const Config& config) {
  return view.split(0, {config.integer({"num_attention_heads"}), -1});
}

// [n_head, kv_lora_rank, nope]
View keys_of_kv_b(const View& view, const Config& config) {
  return heads_of_kv_b(view, config).slice(1, 0, config.integer({"qk_nope_head_dim"})).swap(1, 2);
}

// [n_head, v, kv_lora_rank]
View values_of_kv_b(const View& view, const Config& config) {
  return heads_of_kv_b(view, config).slice(1, config.integer({"qk_nope_head_dim"}), config.integer({"v_head_dim"}));
}

constexpr TensorRule kAttention[] = {
    {"model.layers.{}.self_attn.q_a_proj.weight", "blk.{}.attn_q_a.weight"},
    {"model.layers.{}.self_attn.q_a_layernorm.weight", "blk.{}.attn_q_a_norm.weight"},
    {"model.layers.{}.self_attn.q_b_proj.weight", "blk.{}.attn_q_b.weight"},
    {"model.layers.{}.self_attn.kv_a_proj_with_mqa.weight", "blk.{}.attn_kv_a_mqa.weight"},
    {"model.layers.{}.self_attn.kv_a_layernorm.weight", "blk.{}.attn_kv_a_norm.weight"},
    {"model.layers.{}.self_attn.kv_b_proj.weight", "blk.{}.attn_k_b.weight", keys_of_kv_b},
    {"model.layers.{}.self_attn.kv_b_proj.weight", "blk.{}.attn_v_b.weight", values_of_kv_b},
};

void add_keys(const Config& config, Keys& keys) {
  const int64_t rank = config.optional_integer({"kv_lora_rank"}).value_or(512);
  const int64_t rope = config.integer({"qk_rope_head_dim"});
  const auto n_experts = config.optional_integer({"n_routed_experts"});
  keys.integer("attention.head_count_kv", int64_t{1});  // all heads read the same latents
  keys.real("attention.layer_norm_rms_epsilon", config.optional_real({"rms_norm_eps"}).value_or(1e-6));
  keys.integer("leading_dense_block_count",
               config.optional_integer({"first_k_dense_replace"}).value_or(n_experts ? 0 : keys.n_layers()));
  keys.integer("vocab_size", config.integer({"vocab_size"}));
  keys.integer("attention.q_lora_rank", config.optional_integer({"q_lora_rank"}));
  keys.integer("attention.kv_lora_rank", rank);
  keys.integer("attention.key_length", rank + rope);
  keys.integer("attention.value_length", rank);
  keys.integer("attention.key_length_mla", config.integer({"qk_nope_head_dim"}) + rope);
  keys.integer("attention.value_length_mla", config.integer({"v_head_dim"}));
  keys.integer("expert_feed_forward_length", config.integer({"moe_intermediate_size", "intermediate_size"}));
  keys.integer("expert_count", n_experts);
  keys.integer("expert_shared_count", config.optional_integer({"n_shared_experts"}).value_or(0));
  keys.real("expert_weights_scale", config.optional_real({"routed_scaling_factor"}));
  if (config.optional_boolean({"norm_topk_prob"}).value_or(false)) keys.boolean("expert_weights_norm", true);
  keys.integer("rope.dimension_count", rope);
  if (const auto all = config.rope_real("mscale_all_dim")) keys.real("rope.scaling.yarn_log_multiplier", 0.1 * *all);
  // All of these classes but the oldest choose experts by sigmoids, whether their configuration says so or not.
  constexpr int64_t kSigmoid = 2;
  if (!config.contains("scoring_func") && config.architecture() != "DeepseekV2ForCausalLM")
    keys.integer("expert_gating_func", kSigmoid);
}

}  // namespace

const Architecture& deepseek2() {
  static const Architecture kArchitecture{
      .name = "deepseek2",
      .classes = kClasses,
      .rules = {outer_rules(), kAttention, attention_rules(), dense_rules(), expert_rules(), prediction_rules()},
      .add_keys = add_keys,
      .has_prediction = true};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

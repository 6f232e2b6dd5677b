// GLM-4.5, 4.6, 4.7: experts chosen by sigmoids, half of a head rotated, blocks that predict further tokens.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration"};

constexpr TensorRule kNorms[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
};

void add_keys(const Config& config, Keys& keys) {
  add_partial_rope(config, keys, 0.5);
  keys.integer("expert_count", config.optional_integer({"n_routed_experts"}));
  keys.integer("expert_feed_forward_length", config.optional_integer({"moe_intermediate_size"}));
  keys.integer("expert_shared_count", config.optional_integer({"n_shared_experts"}));
  keys.integer("leading_dense_block_count", config.optional_integer({"first_k_dense_replace"}));
  constexpr int64_t kSigmoid = 2;
  keys.integer("expert_gating_func", kSigmoid);
  keys.real("expert_weights_scale", config.optional_real({"routed_scaling_factor"}));
  if (const auto norm = config.optional_boolean({"norm_topk_prob"})) keys.boolean("expert_weights_norm", *norm);
}

}  // namespace

const Architecture& glm4moe() {
  static const Architecture kArchitecture{
      .name = "glm4moe",
      .classes = kClasses,
      .rules = {outer_rules(), kNorms, attention_rules(), dense_rules(), expert_rules(), prediction_rules()},
      .add_keys = add_keys,
      .has_prediction = true};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

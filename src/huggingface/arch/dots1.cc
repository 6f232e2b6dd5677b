// dots.llm1.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Dots1ForCausalLM"};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("expert_feed_forward_length", config.integer({"moe_intermediate_size"}));
  keys.integer("leading_dense_block_count", config.integer({"first_k_dense_replace"}));
  keys.integer("expert_shared_count", config.integer({"n_shared_experts"}));
  keys.real("expert_weights_scale", config.optional_real({"routed_scaling_factor"}));
  if (const auto norm = config.optional_boolean({"norm_topk_prob"})) keys.boolean("expert_weights_norm", *norm);
  constexpr int64_t kSigmoid = 2;  // whether the configuration says so or not
  if (!config.contains("scoring_func")) keys.integer("expert_gating_func", kSigmoid);
}

}  // namespace

const Architecture& dots1() {
  static const Architecture kArchitecture{.name = "dots1",
                                          .classes = kClasses,
                                          .rules = {outer_rules(), attention_rules(), dense_rules(), expert_rules()},
                                          .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

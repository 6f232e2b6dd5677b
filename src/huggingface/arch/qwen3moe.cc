// Qwen3 with experts.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Qwen3MoeForCausalLM"};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("expert_feed_forward_length", config.optional_integer({"moe_intermediate_size"}));
  keys.integer("expert_shared_feed_forward_length", config.optional_integer({"shared_expert_intermediate_size"}));
}

}  // namespace

const Architecture& qwen3moe() {
  static const Architecture kArchitecture{
      .name = "qwen3moe",
      .classes = kClasses,
      .rules = {outer_rules(), attention_rules(), dense_rules(), expert_rules()},
      .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

// Qwen1.5, Qwen2 and Qwen3 with experts.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses2[] = {"Qwen2MoeForCausalLM"}, kClasses3[] = {"Qwen3MoeForCausalLM"};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("expert_feed_forward_length", config.optional_integer({"moe_intermediate_size"}));
  keys.integer("expert_shared_feed_forward_length", config.optional_integer({"shared_expert_intermediate_size"}));
}

Architecture of(std::string_view name, std::span<const std::string_view> classes) {
  return {.name = name,
          .classes = classes,
          .rules = {outer_rules(), attention_rules(), dense_rules(), expert_rules()},
          .add_keys = add_keys};
}

}  // namespace

const Architecture& qwen2moe() {
  static const Architecture kArchitecture = of("qwen2moe", kClasses2);
  return kArchitecture;
}

const Architecture& qwen3moe() {
  static const Architecture kArchitecture = of("qwen3moe", kClasses3);
  return kArchitecture;
}

}  // namespace steelyard::huggingface

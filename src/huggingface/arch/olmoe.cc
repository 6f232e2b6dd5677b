// OLMoE.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"OlmoeForCausalLM"};

void add_keys(const Config&, Keys& keys) { keys.real("attention.layer_norm_rms_epsilon", 1e-5); }

}  // namespace

const Architecture& olmoe() {
  static const Architecture kArchitecture{.name = "olmoe",
                                          .classes = kClasses,
                                          .rules = {outer_rules(), attention_rules(), expert_rules()},
                                          .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

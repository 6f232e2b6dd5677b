// OLMo 2 and 3: norms after each part of a block, and over all queries and keys; some layers with a window.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Olmo2ForCausalLM", "Olmo3ForCausalLM"};

constexpr TensorRule kNorms[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
};

void add_keys(const Config& config, Keys& keys) {
  if (const auto window = config.optional_integer({"sliding_window"})) add_windows(config, keys, *window, 4);
}

}  // namespace

const Architecture& olmo2() {
  static const Architecture kArchitecture{.name = "olmo2",
                                          .classes = kClasses,
                                          .rules = {kNorms, outer_rules(), attention_rules(), dense_rules()},
                                          .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

// EXAONE 4: norms after each part of a block; some layers with a window.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Exaone4ForCausalLM"};

constexpr TensorRule kNorms[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("vocab_size", config.integer({"vocab_size"}));
  if (const auto window = config.optional_integer({"sliding_window"})) add_windows(config, keys, *window, 4);
}

}  // namespace

const Architecture& exaone4() {
  static const Architecture kArchitecture{.name = "exaone4",
                                          .classes = kClasses,
                                          .rules = {kNorms, outer_rules(), attention_rules(), dense_rules()},
                                          .add_keys = add_keys,
                                          .generate = llama3_factors};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

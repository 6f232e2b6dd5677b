// GLM-4-9B-0414, GLM-4-32B: gate and up in one matrix, norms before and after each part of a block.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Glm4ForCausalLM"};

constexpr TensorRule kBlock[] = {
    {"model.layers.{}.post_self_attn_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.post_mlp_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
    {"model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight"},
};

void add_keys(const Config& config, Keys& keys) { add_partial_rope(config, keys, 0.5); }

}  // namespace

const Architecture& glm4() {
  static const Architecture kArchitecture{.name = "glm4",
                                          .classes = kClasses,
                                          .rules = {kBlock, outer_rules(), attention_rules(), dense_rules()},
                                          .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

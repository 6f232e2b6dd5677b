// Llama, Mistral, Mixtral, SmolLM, Granite: RoPE turns pairs of neighbours in GGUF, and a head's halves in checkpoints.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"};

constexpr std::string_view kSmolLm3Classes[] = {"SmolLM3ForCausalLM"}, kGraniteClasses[] = {"GraniteForCausalLM"};

constexpr TensorRule kExperts[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up_exps.weight"},
};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("vocab_size", config.integer({"vocab_size"}));
  keys.integer("rope.dimension_count", config.head_dim());
}

void add_granite_keys(const Config& config, Keys& keys) {
  add_keys(config, keys);
  keys.real("attention.scale", config.optional_real({"attention_multiplier"}));
  keys.real("embedding_scale", config.optional_real({"embedding_multiplier"}));
  keys.real("residual_scale", config.optional_real({"residual_multiplier"}));
  keys.real("logit_scale", config.optional_real({"logits_scaling"}));
}

Architecture of(std::string_view name, std::span<const std::string_view> classes, void (*add)(const Config&, Keys&)) {
  return {.name = name,
          .classes = classes,
          .rules = {outer_rules(), paired_attention_rules(), attention_rules(), dense_rules(), kExperts},
          .add_keys = add,
          .generate = llama3_factors};
}

}  // namespace

const Architecture& llama() {
  static const Architecture kArchitecture = of("llama", kClasses, add_keys);
  return kArchitecture;
}

const Architecture& smollm3() {
  static const Architecture kArchitecture = of("smollm3", kSmolLm3Classes, add_keys);
  return kArchitecture;
}

const Architecture& granite() {
  static const Architecture kArchitecture = of("granite", kGraniteClasses, add_granite_keys);
  return kArchitecture;
}

}  // namespace steelyard::huggingface

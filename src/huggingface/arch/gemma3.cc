// Gemma 2 and 3: norms store what is added to 1, and stand before and after each part of a block.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses2[] = {"Gemma2ForCausalLM"};
constexpr std::string_view kClasses3[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"};

constexpr TensorRule kNorms[] = {
    {"model.norm.weight", "output_norm.weight", nullptr, plus_one},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", nullptr, plus_one},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", nullptr, plus_one},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", nullptr, plus_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", nullptr, plus_one},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight", nullptr, plus_one},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight", nullptr, plus_one},
};

constexpr TensorRule kUnused2[] = {{"lm_head.weight", ""}};  // the embedding's, again

void add_keys_2(const Config& config, Keys& keys) {
  keys.integer("attention.key_length", config.integer({"head_dim"}));
  keys.integer("attention.value_length", config.integer({"head_dim"}));
  keys.real("attn_logit_softcapping", config.optional_real({"attn_logit_softcapping"}));
  keys.real("final_logit_softcapping", config.optional_real({"final_logit_softcapping"}));
  keys.integer("attention.sliding_window", config.integer({"sliding_window"}));
}

void add_keys_3(const Config& config, Keys& keys) {
  keys.integer("context_length", config.optional_integer({"max_position_embeddings"}).value_or(131072));
  keys.integer("attention.head_count", config.optional_integer({"num_attention_heads"}).value_or(8));
  keys.integer("attention.head_count_kv", config.optional_integer({"num_key_value_heads"}).value_or(4));
  keys.real("attention.layer_norm_rms_epsilon", config.optional_real({"rms_norm_eps"}).value_or(1e-6));
  const int64_t head = config.optional_integer({"head_dim"}).value_or(256);
  keys.integer("attention.key_length", head);
  keys.integer("attention.value_length", head);
  keys.real("rope.freq_base", config.rope_real("rope_theta").value_or(1e6));
  keys.real("final_logit_softcapping", config.optional_real({"final_logit_softcapping"}));
  if (config.optional_integer({"sliding_window_pattern"}).value_or(0) != 1)
    keys.integer("attention.sliding_window", config.integer({"sliding_window"}));
}

}  // namespace

const Architecture& gemma2() {
  static const Architecture kArchitecture{.name = "gemma2",
                                          .classes = kClasses2,
                                          .rules = {kNorms, kUnused2, outer_rules(), attention_rules(), dense_rules()},
                                          .add_keys = add_keys_2};
  return kArchitecture;
}

const Architecture& gemma3() {
  static const Architecture kArchitecture{.name = "gemma3",
                                          .classes = kClasses3,
                                          .rules = {kNorms, outer_rules(), attention_rules(), dense_rules()},
                                          .add_keys = add_keys_3,
                                          .cuts_vocabulary = true};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

// MiniMax-M2.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"MiniMaxM2ForCausalLM"};

constexpr TensorRule kExperts[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.block_sparse_moe.e_score_correction_bias", "blk.{}.exp_probs_b.bias"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up_exps.weight"},
};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("expert_feed_forward_length", config.integer({"intermediate_size"}));
  if (const auto rotated = config.optional_integer({"rotary_dim"}))
    keys.integer("rope.dimension_count", *rotated);
  else
    add_partial_rope(config, keys, 1.0);
  constexpr int64_t kSigmoid = 2;  // whether the configuration says so or not
  if (!config.contains("scoring_func")) keys.integer("expert_gating_func", kSigmoid);
}

}  // namespace

const Architecture& minimax_m2() {
  static const Architecture kArchitecture{.name = "minimax-m2",
                                          .classes = kClasses,
                                          .rules = {outer_rules(), kExperts, attention_rules(), expert_rules()},
                                          .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

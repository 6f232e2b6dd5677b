// qwen3next: Qwen3-Next-80B-A3B, Qwen3-Coder-Next.
//
// Three gated delta net layers to one of gated attention, which rotates a part of the head; in every block experts by
// softmax over all, renormalised, and a gated shared expert. Gating keys are not read.
#include "model/architecture.h"

namespace steelyard::model {
namespace {

DeltaNetConfig read_delta_net(const ModelKeys& keys) {
  DeltaNetConfig config;
  config.n_taps = keys.count("ssm.conv_kernel");
  config.head = keys.count("ssm.state_size");
  config.n_head = keys.count("ssm.time_step_rank");
  config.n_head_k = keys.count("ssm.group_count");
  constexpr int64_t kMaxHead = 512;  // a state has the square of it for every head, four times what any model has
  if (config.head > kMaxHead) keys.reject("ssm.state_size", "is {}, expected at most {}", config.head, kMaxHead);
  if (config.n_head % config.n_head_k != 0) {
    keys.reject("ssm.group_count", "is {}, expected a divisor of ssm.time_step_rank {}", config.n_head_k,
                config.n_head);
  }
  const int64_t inner = keys.count("ssm.inner_size");
  if (inner != config.value_width()) {
    keys.reject("ssm.inner_size", "is {}, expected ssm.time_step_rank times ssm.state_size, {}", inner,
                config.value_width());
  }
  return config;
}

}  // namespace

// Gated delta nets and gated attention with any FFN.
ModelConfig read_qwen_hybrid(const ModelKeys& keys, const FfnConfig& ffn);
ModelConfig read_qwen_hybrid(const ModelKeys& keys, const FfnConfig& ffn) {
  LayerConfig full;
  full.attention = keys.attention(compute::RopePairs::kNeox);
  full.attention.gated = true;
  if (full.attention.head_v != full.attention.head_k) {
    keys.reject("attention.value_length", "is {}, expected key_length {}", full.attention.head_v,
                full.attention.head_k);
  }
  full.ffn = ffn;
  full.ffn_norm = "post_attention_norm";
  full.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  ModelConfig config = keys.model(full);

  AttentionConfig linear = full.attention;  // with the same RoPE, which it ignores: layers share one table
  linear.mixer = Mixer::kDeltaNet;
  linear.delta_net = read_delta_net(keys);
  const std::vector<bool> recurrent = keys.recurrent(config.layers.size());
  for (size_t i = 0; i < config.layers.size(); ++i) {
    if (recurrent[i]) config.layers[i].attention = linear;
  }
  return config;
}

ModelConfig read_qwen3next(const ModelKeys& keys) {
  FfnConfig ffn = keys.required_experts();
  ffn.n_ff_shared = keys.count("expert_shared_feed_forward_length", 0);
  if (ffn.n_ff_shared == 0) ffn.n_ff_shared = keys.count("feed_forward_length");
  ffn.shared_gate = true;
  ffn.normalize = true;
  return read_qwen_hybrid(keys, ffn);
}

}  // namespace steelyard::model

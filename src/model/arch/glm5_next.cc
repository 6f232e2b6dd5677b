// glm5-next: GLM-5.3-Flash.
//
// Hyper-connections as DeepSeek V4 has them, with the mean of the streams before the head. Kimi delta attention in
// blocks without key/value heads; in the others latent attention without RoPE, to blocks of positions that an indexer
// chooses by pooled keys. Some of these choose as an earlier one did.

#include "model/architecture.h"

namespace steelyard::model {

StreamsConfig read_hyper_connections(const ModelKeys& keys);
std::vector<bool> indexed_blocks(const ModelKeys& keys, size_t n_layers, int64_t n_context);

namespace {

IndexerConfig read_indexer(const ModelKeys& keys) {
  constexpr const char *kBest = "attention.indexer.top_k", *kTail = "attention.indexer.kpool_select_tail";
  IndexerConfig indexer;
  indexer.kind = IndexerConfig::Kind::kPools;
  indexer.n_head = keys.count("attention.indexer.head_count");
  indexer.head = keys.count("attention.indexer.key_length");
  indexer.block = keys.count("attention.indexer.kpool");
  indexer.n_best = keys.count(kBest) / indexer.block;
  if (indexer.n_best == 0) keys.reject(kBest, "is less than a block of {}", indexer.block);
  if (!keys.boolean(kTail, true)) keys.reject(kTail, "is false, expected true");
  indexer.norm_eps = static_cast<float>(keys.positive("attention.layer_norm_epsilon"));
  return indexer;
}

AttentionConfig read_attention(const ModelKeys& keys) {
  AttentionConfig attention = keys.unrotated_latent_attention();
  attention.q_lora_rank = keys.count("attention.q_lora_rank");
  if (keys.has_attention()) {
    attention.indexer = read_indexer(keys);
  } else {
    attention.mixer = Mixer::kKimiDelta;
    attention.kimi_delta = keys.kimi_delta(attention.n_head);
    attention.kimi_delta.eps = 1e-6f;
  }
  return attention;
}

// A block without an indexer takes the inputs of the one before it that has attention; those between have none.
void share_choices(const ModelKeys& keys, ModelConfig& config) {
  constexpr const char* kTypes = "attention.indexer.types";
  const size_t n = config.layers.size();
  const std::vector<bool> own = indexed_blocks(keys, n, config.n_context);
  const auto kv_heads = keys.per_layer().find("attention.head_count_kv");
  const auto attends = [&](size_t i) {
    return kv_heads != keys.per_layer().end() ? kv_heads->second[i] > 0 : keys.has_attention();
  };
  bool taken = false, given = false;
  int64_t width = 0;
  for (size_t i = n; i-- > 0;) {
    AttentionConfig& attention = config.layers[i].attention;
    if (!attends(i)) continue;
    given = own[i];
    if (!own[i])
      attention.sharing = Sharing::kTakes;
    else if (taken)
      attention.sharing = Sharing::kGives;
    if (taken || !own[i]) width = read_indexer(keys).side_width();
    taken = !own[i];
  }
  if (!given && width > 0) keys.reject(kTypes, "has 0 for the first block with attention, which has no earlier choice");
  config.streams.n_side = width;
}

}  // namespace

ModelConfig read_glm5_next(const ModelKeys& keys) {
  LayerConfig dense;
  dense.attention = read_attention(keys);
  LayerConfig moe = dense;
  moe.ffn = keys.required_experts();
  moe.ffn.n_ff_shared = moe.ffn.n_ff * keys.shared_experts();
  moe.ffn.gating = keys.gating().value_or(compute::Gating::kSigmoid);
  moe.ffn.normalize = keys.boolean("expert_weights_norm", false);
  moe.ffn.scale = keys.expert_scale();
  moe.required = {"exp_probs_b.bias"};
  ModelConfig config = keys.model_with_dense_blocks(dense, moe);
  config.runs_prediction = false;
  config.streams = read_hyper_connections(keys);
  config.streams.mean_head = true;
  share_choices(keys, config);

  const size_t n = config.layers.size();
  constexpr const char* kSharedLimits = "swiglu_clamp_shexp";
  const std::vector<float> limits = keys.limits("swiglu_clamp_exp", n);
  const std::vector<float> shared_limits = keys.contains(kSharedLimits) ? keys.limits(kSharedLimits, n) : limits;
  for (size_t i = 0; i < n; ++i) {
    FfnConfig& ffn = config.layers[i].ffn;
    const compute::Activation shared{compute::Activation::kSwiglu, shared_limits[i]};
    ffn.activation = ffn.n_expert > 0 ? compute::Activation{compute::Activation::kSwiglu, limits[i]} : shared;
    ffn.shared_activation = shared;
  }
  return config;
}

}  // namespace steelyard::model

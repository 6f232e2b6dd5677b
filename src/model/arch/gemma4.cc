// gemma4: the text part of Gemma 4, dense (E2B, E4B, 31B) and with experts (26B-A4B).
//
// Scaled embeddings, norms before and after both branches, GeGLU; most blocks within a sliding window, with heads and
// RoPE of their own. Values are normed, and in some blocks are what keys are made of. The last blocks may have no keys
// and values of their own, and share those of the last block of their kind that has. Every block may have an embedding
// of its own. Routed experts stand beside the dense FFN.
#include <cmath>

#include "model/architecture.h"

namespace steelyard::model {
namespace {

constexpr const char* kShared = "attention.shared_kv_layers";

AttentionConfig read_attention(const ModelKeys& keys, bool windowed) {
  for (const char* const key : {"attention.key_length_swa", "attention.value_length_swa"}) keys.count(key);
  AttentionConfig full = keys.attention(compute::RopePairs::kNeox);
  AttentionConfig attention = windowed ? keys.windowed_attention(full, 10000.0) : full;
  if (attention.head_v != attention.head_k)
    keys.reject(windowed ? "attention.value_length_swa" : "attention.value_length", "is {}, expected the key's {}",
                attention.head_v, attention.head_k);
  attention.scale = 1;
  attention.value_norm = true;
  attention.values_of_keys = true;
  if (windowed) attention.rope.has_factors = false;
  return attention;
}

// The blocks from `first` on take keys and values from the last ones before, of their kind: a windowed one from first -
// 2, a full one from first - 1.
void share_keys(const ModelKeys& keys, const std::vector<bool>& windowed, ModelConfig& config) {
  const size_t n = config.layers.size(), n_shared = static_cast<size_t>(keys.count(kShared, 0));
  if (n_shared == 0) return;
  if (n_shared + 2 > n) keys.reject(kShared, "is {} of {} blocks, expected two less", n_shared, n);
  const size_t first = n - n_shared;
  int64_t begin = 0;
  for (const bool of_windowed : {true, false}) {
    const size_t source = first - (of_windowed ? 2 : 1);
    bool any = false;
    for (size_t i = first; i < n; ++i) {
      if (windowed[i] != of_windowed) continue;
      config.layers[i].attention.sharing = Sharing::kTakes;
      config.layers[i].attention.side_begin = begin;
      config.layers[i].required = {"attn_q_norm.weight"};
      any = true;
    }
    if (!any) continue;
    if (windowed[source] != of_windowed)
      keys.reject(kShared, "is {}, but block {}, whose keys would be shared, {} a window", n_shared, source,
                  of_windowed ? "has not" : "has");
    config.layers[source].attention.sharing = Sharing::kGives;
    config.layers[source].attention.side_begin = begin;
    begin += read_attention(keys.of_block(source), of_windowed).side_width();
  }
  config.streams.n_side = begin;
}

}  // namespace

ModelConfig read_gemma4(const ModelKeys& keys) {
  LayerConfig layer;
  layer.ffn.n_ff = keys.count("feed_forward_length");
  layer.ffn.activation = compute::Activation::kGeglu;
  layer.branch_norms = true;
  layer.required = {"attn_q_norm.weight", "attn_k_norm.weight"};
  ModelConfig config = keys.model(layer);
  config.embedding_scale = std::sqrt(static_cast<float>(config.n_embd));
  config.logit_softcap = static_cast<float>(keys.non_negative("final_logit_softcapping", 30.0));

  FfnConfig moe = keys.experts();
  if (moe.n_expert > 0) {
    moe.n_ff = keys.count("expert_feed_forward_length");
    moe.n_ff_shared = layer.ffn.n_ff;
    moe.activation = layer.ffn.activation;
    moe.normalize = true;
    moe.own_norms = true;
  }
  const size_t n_layers = config.layers.size();
  const int64_t width = keys.count_or_zero("embedding_length_per_layer_input");
  if (width > 0) {
    config.streams.n = 2;
    config.streams.has_id = true;
  }
  const std::vector<bool> windowed = keys.windowed_blocks(n_layers, n_layers);
  const AttentionConfig full = read_attention(keys, false), local = read_attention(keys, true);
  for (size_t i = 0; i < n_layers; ++i) {
    LayerConfig& block = config.layers[i];
    block.attention = windowed[i] ? local : full;
    if (moe.n_expert > 0 && keys.has_tensor(i, "ffn_gate_inp.weight")) block.ffn = moe;
    block.embedding = {width, static_cast<int64_t>(i), static_cast<int64_t>(n_layers)};
  }
  share_keys(keys, windowed, config);
  return config;
}

}  // namespace steelyard::model

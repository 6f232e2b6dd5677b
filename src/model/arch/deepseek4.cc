// deepseek4: DeepSeek V4.
//
// Hyper-connections of several residual streams. Attention to a window and to pooled blocks of 4 or of 128 positions,
// the former chosen by an indexer. Experts by the root of softplus; in the first blocks a table gives each token its
// experts.
#include "model/architecture.h"

namespace steelyard::model {

StreamsConfig read_hyper_connections(const ModelKeys& keys) {
  constexpr const char* kCount = "hyper_connection.count";
  constexpr int64_t kMaxStreams = 64;
  StreamsConfig streams;
  streams.kind = StreamsConfig::Kind::kHyper;
  streams.n = keys.count(kCount);
  if (streams.n > kMaxStreams) keys.reject(kCount, "is {}, expected at most {}", streams.n, kMaxStreams);
  constexpr const char* kIterations = "hyper_connection.sinkhorn_iterations";
  constexpr int64_t kMaxIterations = 1000;
  streams.n_iterations = keys.count(kIterations);
  if (streams.n_iterations > kMaxIterations)
    keys.reject(kIterations, "is {}, expected at most {}", streams.n_iterations, kMaxIterations);
  streams.eps = static_cast<float>(keys.positive("hyper_connection.epsilon"));
  return streams;
}

namespace {

AttentionConfig read_attention(const ModelKeys& keys) {
  AttentionConfig attention = keys.attention(compute::RopePairs::kNorm);
  attention.mixer = Mixer::kCompressed;
  if (attention.n_head_kv != 1) keys.reject("attention.head_count_kv", "is {}, expected 1", attention.n_head_kv);
  if (attention.head_v != attention.head_k) {
    keys.reject("attention.value_length", "is {}, expected key_length {}", attention.head_v, attention.head_k);
  }
  attention.q_lora_rank = keys.count("attention.q_lora_rank");
  attention.window = keys.count("attention.sliding_window");
  CompressedConfig& own = attention.compressed;
  own.n_group = keys.count("attention.output_group_count");
  own.group_rank = keys.count("attention.output_lora_rank");
  if (attention.n_head % own.n_group != 0) {
    keys.reject("attention.output_group_count", "is {}, expected a divisor of head_count {}", own.n_group,
                attention.n_head);
  }
  return attention;
}

void compress(const ModelKeys& keys, int64_t block, AttentionConfig& attention) {
  constexpr const char* kRatios = "attention.compress_ratios";
  constexpr int64_t kOverlapping = 4, kApart = 128;
  if (block != kOverlapping && block != kApart) {
    keys.reject(kRatios, "holds {}, expected 0, {} or {}", block, kOverlapping, kApart);
  }
  attention.rope.freq_base = keys.positive("attention.compress_rope_freq_base");
  CompressedConfig& own = attention.compressed;
  own.block = block;
  own.overlaps = block == kOverlapping;
  if (!own.overlaps) return;
  constexpr const char* kIndexHead = "attention.indexer.key_length";
  own.n_index_head = keys.count("attention.indexer.head_count");
  own.index_head = keys.count(kIndexHead);
  own.n_best = keys.count("attention.indexer.top_k");
  if (own.index_head < attention.rope.n_dims) {
    keys.reject(kIndexHead, "is {}, expected at least rope.dimension_count {}", own.index_head, attention.rope.n_dims);
  }
}

}  // namespace

ModelConfig read_deepseek4(const ModelKeys& keys) {
  LayerConfig layer;
  layer.attention = read_attention(keys);
  layer.ffn = keys.required_experts();
  layer.ffn.n_group = layer.ffn.n_group_used = 1;
  layer.ffn.n_ff_shared = layer.ffn.n_ff * keys.shared_experts();
  layer.ffn.normalize = keys.boolean("expert_weights_norm", false);
  layer.ffn.scale = keys.expert_scale();
  layer.ffn.gating = compute::Gating::kSqrtSoftplus;
  if (keys.gating() != compute::Gating::kSqrtSoftplus)
    keys.reject("expert_gating_func", "is {}, expected 4 (sqrt softplus)", keys.count("expert_gating_func", 0));
  layer.required = {"exp_probs_b.bias"};

  ModelConfig config = keys.model(layer);
  config.runs_prediction = false;
  config.streams = read_hyper_connections(keys);
  const auto n_hashed = static_cast<size_t>(keys.count("hash_layer_count", 0));
  config.streams.has_id = n_hashed > 0;

  const size_t n = config.layers.size();
  const std::vector<int64_t> ratios = keys.entries("attention.compress_ratios", n);
  constexpr const char* kLimits = "swiglu_clamp_exp";
  if (!keys.contains(kLimits)) keys.reject(kLimits, "is missing");
  const std::vector<float> limits = keys.limits(kLimits, n);
  constexpr const char* kSharedLimits = "swiglu_clamp_shexp";
  const std::vector<float> shared_limits = keys.contains(kSharedLimits) ? keys.limits(kSharedLimits, n) : limits;
  for (size_t i = 0; i < n; ++i) {
    LayerConfig& own = config.layers[i];
    own.ffn.activation = {compute::Activation::kSwiglu, limits[i]};
    own.ffn.shared_activation = {compute::Activation::kSwiglu, shared_limits[i]};
    own.attention.rope.magnitude = 1;  // scaling slows angles, and does no more
    if (ratios[i] != 0)
      compress(keys, ratios[i], own.attention);
    else
      own.attention.rope.scaling = RopeScaling::kNone;
    own.ffn.by_token = i < n_hashed;
    if (own.ffn.by_token) own.required.clear();
  }
  return config;
}

}  // namespace steelyard::model

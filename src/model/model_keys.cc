#include "model/model_keys.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace steelyard::model {
namespace {

constexpr int64_t kMaxCount = std::numeric_limits<int32_t>::max();

// What may differ from layer to layer: everything that only the layer's own configuration depends on.
constexpr std::string_view kPerLayer[] = {"attention.head_count",       "attention.head_count_kv",
                                          "attention.sliding_window",   "feed_forward_length",
                                          "expert_feed_forward_length", "expert_used_count"};

constexpr int64_t kMaxLayers = 4096;

// Error unless all entries are the same: then it is that of every layer.
template <typename T>
T only_value(const ModelKeys& keys, std::string_view key, const std::vector<T>& values) {
  if (values.empty() || std::ssize(values) > kMaxLayers)
    keys.reject(key, "is an array of {} entries, expected 1 to {}", values.size(), kMaxLayers);
  const bool equal = std::ranges::all_of(values, [&](T value) { return value == values.front(); });
  if (!equal) keys.reject(key, "differs from layer to layer, expected one value for all");
  return values.front();
}

}  // namespace

ModelKeys::ModelKeys(const gguf::Metadata& metadata, std::string_view architecture,
                     std::span<const gguf::TensorInfo> tensors, int64_t n_vocab)
    : metadata_(metadata), prefix_(std::string(architecture) + "."), n_vocab_(n_vocab) {
  const auto names = std::make_shared<std::unordered_set<std::string_view, TextHash>>();
  for (const gguf::TensorInfo& tensor : tensors) names->insert(tensor.name);
  tensors_ = names;
  for (const std::string_view key : kPerLayer) {
    if (!is_array(key)) continue;
    std::vector<int64_t> values = metadata_.integers(prefix_ + std::string(key));
    if (values.empty() || std::ranges::adjacent_find(values, std::ranges::not_equal_to()) == values.end()) continue;
    // Blocks for prediction may have none.
    const int64_t n_blocks = count("block_count"), n_predict = count("nextn_predict_layers", 0);
    if (std::ssize(values) == n_blocks - n_predict && n_blocks <= kMaxLayers)
      values.resize(static_cast<size_t>(n_blocks), values.back());
    if (std::ssize(values) != n_blocks) reject(key, "has {} entries for {} blocks", values.size(), n_blocks);
    per_layer_.emplace(key, std::move(values));
  }
}

bool ModelKeys::is_array(std::string_view key) const {
  const gguf::KeyValue* const entry = metadata_.find(prefix_ + std::string(key));
  return entry != nullptr && entry->type == gguf::ValueType::kArray;
}

int64_t ModelKeys::integer(std::string_view key) const {
  if (const auto found = per_layer_.find(key); found != per_layer_.end()) return found->second[block_];
  const std::string name = prefix_ + std::string(key);
  return is_array(key) ? only_value(*this, key, metadata_.integers(name)) : metadata_.integer(name);
}

double ModelKeys::real(std::string_view key) const {
  const std::string name = prefix_ + std::string(key);
  return is_array(key) ? only_value(*this, key, metadata_.reals(name)) : metadata_.real(name);
}

int64_t ModelKeys::count(std::string_view key) const {
  const int64_t value = integer(key);
  if (value < 1 || value > kMaxCount) reject(key, "is {}, expected 1 to {}", value, kMaxCount);
  return value;
}

int64_t ModelKeys::count(std::string_view key, int64_t absent) const {
  const int64_t value = contains(key) ? integer(key) : absent;
  if (value < 0 || value > kMaxCount) reject(key, "is {}, expected 0 to {}", value, kMaxCount);
  return value;
}

double ModelKeys::number(std::string_view key) const {
  const double value = real(key);
  if (!std::isfinite(value)) reject(key, "is {}, expected a number", value);
  return value;
}

double ModelKeys::positive(std::string_view key) const {
  const double value = real(key);
  if (!(value > 0) || !std::isfinite(value)) reject(key, "is {}, expected a number above 0", value);
  return value;
}

double ModelKeys::positive(std::string_view key, double absent) const { return contains(key) ? positive(key) : absent; }

double ModelKeys::non_negative(std::string_view key, double absent) const {
  const double value = contains(key) ? real(key) : absent;
  if (!(value >= 0) || !std::isfinite(value)) reject(key, "is {}, expected a number of at least 0", value);
  return value;
}

bool ModelKeys::boolean(std::string_view key, bool absent) const {
  if (!is_array(key)) return metadata_.boolean(prefix_ + std::string(key), absent);
  const int64_t value = integer(key);
  if (value != 0 && value != 1) reject(key, "is {}, expected a bool", value);
  return value == 1;
}

std::string_view ModelKeys::string(std::string_view key, std::string_view absent) const {
  return metadata_.string(prefix_ + std::string(key), absent);
}

ModelConfig ModelKeys::model(const LayerConfig& layer) const {
  ModelConfig config;
  config.architecture = prefix_.substr(0, prefix_.size() - 1);
  constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
  const bool counted = n_vocab_ == 0 || metadata_.contains(kTokens);
  config.n_vocab = counted ? static_cast<int64_t>(metadata_.array_size(kTokens)) : n_vocab_;
  if (config.n_vocab < 1 || config.n_vocab > kMaxCount) reject("vocab_size", "cannot be read: the token list is empty");
  config.n_embd = count("embedding_length");
  config.n_context = count("context_length");
  constexpr std::string_view kEps = "attention.layer_norm_rms_epsilon",
                             kEpsOfLayerNorm = "attention.layer_norm_epsilon";
  const bool of_layer_norm = layer.centered_norms || (!contains(kEps) && contains(kEpsOfLayerNorm));
  config.norm_eps = static_cast<float>(positive(of_layer_norm ? kEpsOfLayerNorm : kEps));
  // Prediction (NextN) blocks follow the trunk in the file and take no part in it.
  const int64_t n_blocks = count("block_count"), n_predict = count("nextn_predict_layers", 0);
  if (n_predict >= n_blocks)
    reject("nextn_predict_layers", "is {} of {} blocks: no trunk is left", n_predict, n_blocks);
  if (n_blocks > kMaxLayers) reject("block_count", "is {}, expected at most {}", n_blocks, kMaxLayers);
  config.layers.assign(static_cast<size_t>(n_blocks - n_predict), layer);
  config.prediction.assign(static_cast<size_t>(n_predict), layer);
  return config;
}

ModelConfig ModelKeys::model_with_dense_blocks(const LayerConfig& dense, const LayerConfig& moe) const {
  ModelConfig config = model(moe);
  const auto n_dense = std::min(config.layers.size(), static_cast<size_t>(count("leading_dense_block_count", 0)));
  for (size_t i = 0; i < n_dense; ++i) {
    config.layers[i] = dense;
    config.layers[i].ffn.n_ff = count("feed_forward_length");
  }
  return config;
}

bool ModelKeys::has_attention() const { return count("attention.head_count_kv", 1) > 0; }

AttentionConfig ModelKeys::unrotated_attention() const {
  AttentionConfig attention;
  attention.unrotated = true;
  attention.n_head = count("attention.head_count");
  constexpr std::string_view kKvHeads = "attention.head_count_kv", kHeads = "attention.head_count";
  attention.n_head_kv = count(kKvHeads, attention.n_head);
  // A layer without attention has 0 in the array. It gets the heads of the others, which it does not use.
  const auto kv_heads = per_layer_.find(kKvHeads);
  if (attention.n_head_kv == 0 && is_array(kKvHeads))
    attention.n_head_kv = kv_heads != per_layer_.end() ? std::ranges::max(kv_heads->second) : attention.n_head;
  if (attention.n_head_kv < 1 || attention.n_head % attention.n_head_kv != 0) {
    reject("attention.head_count_kv", "is {}, expected a divisor of head_count {}", attention.n_head_kv,
           attention.n_head);
  }
  // The width of a head does not change with their number: it is the first layer's.
  const int64_t n_head_first = of_block(0).count(kHeads);
  const int64_t head = std::max<int64_t>(1, count("embedding_length") / n_head_first);
  attention.head_k = std::max<int64_t>(1, count("attention.key_length", head));
  attention.head_v = std::max<int64_t>(1, count("attention.value_length", head));
  attention.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(attention.head_k)));
  return attention;
}

AttentionConfig ModelKeys::attention(compute::RopePairs pairs) const {
  AttentionConfig attention = unrotated_attention();
  attention.unrotated = false;
  attention.rope = rope(pairs, attention.head_k);
  if (attention.rope.n_dims > attention.head_k) {
    reject("rope.dimension_count", "is {}, expected at most the head width {}", attention.rope.n_dims,
           attention.head_k);
  }
  return attention;
}

AttentionConfig ModelKeys::fully_rotated_attention(compute::RopePairs pairs) const {
  const AttentionConfig config = attention(pairs);
  if (config.rope.n_dims != config.head_k) {
    reject("rope.dimension_count", "is {}, expected the head width {}", config.rope.n_dims, config.head_k);
  }
  return config;
}

AttentionConfig ModelKeys::unrotated_latent_attention() const {
  AttentionConfig attention;
  attention.mixer = Mixer::kLatent;
  attention.n_head = count("attention.head_count");
  attention.n_head_kv = 1;
  attention.head_k = count("attention.key_length_mla");
  attention.head_v = count("attention.value_length_mla");
  attention.kv_lora_rank = count("attention.kv_lora_rank");
  attention.unrotated = true;
  attention.rope.n_dims = count("rope.dimension_count", 0);
  if (attention.rope.n_dims >= attention.head_k) {
    reject("rope.dimension_count", "is {}, expected less than the head width {}", attention.rope.n_dims,
           attention.head_k);
  }
  attention.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(attention.head_k)));
  return attention;
}

RopeConfig ModelKeys::rope(compute::RopePairs pairs, int64_t n_dims_absent) const {
  RopeConfig rope;
  rope.pairs = pairs;
  rope.n_dims = count("rope.dimension_count", n_dims_absent);
  if (rope.n_dims < 2 || rope.n_dims % 2 != 0) {
    reject("rope.dimension_count", "is {}, expected an even number above 0", rope.n_dims);
  }
  rope.freq_base = positive("rope.freq_base", 10000.0);
  const double factor = non_negative("rope.scaling.factor", non_negative("rope.scale_linear", 0.0));  // the old name
  rope.factor = factor == 0.0 ? 1.0 : factor;
  rope.original_context = std::max<int64_t>(1, count("rope.scaling.original_context_length", count("context_length")));
  rope.magnitude = positive("rope.scaling.attn_factor", 1.0);
  const std::string_view type = string("rope.scaling.type", "linear");
  if (type == "linear") {
    rope.scaling = rope.factor == 1.0 ? RopeScaling::kNone : RopeScaling::kLinear;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::kYarn;
    rope.magnitude *= 1.0 + 0.1 * std::max(0.0, std::log(rope.factor));
  } else if (type == "longrope") {
    rope.scaling = RopeScaling::kLongrope;
  } else if (type != "none") {
    reject("rope.scaling.type", "is \"{}\", expected none, linear, yarn or longrope", printable(type));
  }
  return rope;
}

StateSpaceConfig ModelKeys::state_space() const {
  StateSpaceConfig config;
  config.n_taps = count("ssm.conv_kernel");
  config.n_state = count("ssm.state_size");
  config.n_head = count("ssm.time_step_rank");
  config.n_group = count("ssm.group_count");
  const int64_t inner = count("ssm.inner_size");
  if (inner % config.n_head != 0)
    reject("ssm.inner_size", "is {}, expected a multiple of ssm.time_step_rank {}", inner, config.n_head);
  if (config.n_head % config.n_group != 0)
    reject("ssm.group_count", "is {}, expected a divisor of ssm.time_step_rank {}", config.n_group, config.n_head);
  config.head = inner / config.n_head;
  return config;
}

KimiDeltaConfig ModelKeys::kimi_delta(int64_t n_head) const {
  KimiDeltaConfig config;
  config.n_head = n_head;
  config.head = count("kda.head_dim");
  constexpr int64_t kMaxHead = 512;  // a state has the square of it for every head, four times what any model has
  if (config.head > kMaxHead) reject("kda.head_dim", "is {}, expected at most {}", config.head, kMaxHead);
  config.n_taps = count("ssm.conv_kernel");
  constexpr std::string_view kBound = "kda.gate_lower_bound";
  const double bound = contains(kBound) ? number(kBound) : 0;
  if (bound > 0) reject(kBound, "is {}, expected at most 0", bound);
  config.bound = static_cast<float>(bound);
  return config;
}

std::optional<std::vector<bool>> ModelKeys::flags(std::string_view key, size_t n_layers, size_t n_required) const {
  const gguf::KeyValue* entry = metadata_.find(prefix_ + std::string(key));
  if (entry == nullptr || entry->type != gguf::ValueType::kArray) return std::nullopt;
  const std::vector<int64_t> values = metadata_.integers(entry->key);
  if (values.size() < n_required) reject(key, "has {} entries for {} layers", values.size(), n_required);
  std::vector<bool> out(n_layers);
  for (size_t i = 0; i < std::min(n_layers, values.size()); ++i) out[i] = values[i] != 0;
  return out;
}

AttentionConfig ModelKeys::windowed_attention(const AttentionConfig& full, double freq_base) const {
  AttentionConfig local = full;
  local.window = count("attention.sliding_window");
  local.head_k = std::max<int64_t>(1, count("attention.key_length_swa", full.head_k));
  local.head_v = std::max<int64_t>(1, count("attention.value_length_swa", full.head_v));
  if (local.head_k != full.head_k) local.scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(local.head_k)));
  constexpr std::string_view kDims = "rope.dimension_count_swa";
  local.rope.n_dims = count(kDims, full.rope.n_dims);
  if (local.rope.n_dims < 2 || local.rope.n_dims % 2 != 0 || local.rope.n_dims > local.head_k)
    reject(kDims, "is {}, expected an even number above 0, up to the head width {}", local.rope.n_dims, local.head_k);
  local.rope.freq_base = positive("rope.freq_base_swa", freq_base);
  local.rope.scaling = RopeScaling::kNone;
  local.rope.factor = 1;
  local.rope.magnitude = 1;
  return local;
}

std::vector<bool> ModelKeys::windowed_blocks(size_t n_layers, size_t n_blocks) const {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  const auto given = flags(kKey, n_blocks, n_layers);
  if (!given) reject(kKey, "is no array with an entry per block");
  return *given;
}

std::vector<bool> ModelKeys::windowed(size_t n_layers, int64_t period, Full full) const {
  constexpr std::string_view kKey = "attention.sliding_window_pattern";
  if (const auto given = flags(kKey, n_layers)) return *given;
  period = count(kKey, period);
  std::vector<bool> windowed(n_layers);
  for (size_t i = 0; i < n_layers; ++i) {
    const int64_t at = period == 0 ? 0 : static_cast<int64_t>(i) % period;
    windowed[i] = period == 0 || (full == Full::kFirst ? at > 0 : at < period - 1);
  }
  return windowed;
}

std::vector<bool> ModelKeys::recurrent(size_t n_layers) const {
  constexpr std::string_view kKey = "attention.recurrent_layers", kInterval = "full_attention_interval";
  if (const auto given = flags(kKey, n_layers)) return *given;
  if (contains(kKey)) return std::vector<bool>(n_layers, boolean(kKey, false));
  const int64_t interval = contains(kInterval) ? count(kInterval) : 4;
  std::vector<bool> recurrent(n_layers);
  for (size_t i = 0; i < n_layers; ++i) recurrent[i] = (static_cast<int64_t>(i) + 1) % interval != 0;
  return recurrent;
}

std::vector<int64_t> ModelKeys::counts(std::string_view key, size_t n) const {
  const std::vector<int64_t> values = metadata_.integers(prefix_ + std::string(key));
  if (values.size() != n) reject(key, "has {} entries, expected {}", values.size(), n);
  for (const int64_t value : values) {
    if (value < 0 || value > kMaxCount) reject(key, "holds {}, expected 0 to {}", value, kMaxCount);
  }
  return values;
}

std::vector<float> ModelKeys::limits(std::string_view key, size_t n_blocks) const {
  std::vector<double> values;
  if (is_array(key))
    values = metadata_.reals(prefix_ + std::string(key));
  else
    values.assign(n_blocks, non_negative(key, 0.0));
  constexpr double kNone = 1e-6;
  std::vector<float> out(n_blocks);
  for (size_t i = 0; i < std::min(values.size(), n_blocks); ++i) {
    if (!(values[i] >= 0) || !std::isfinite(values[i]))
      reject(key, "holds {}, expected numbers of at least 0", values[i]);
    if (values[i] > kNone) out[i] = static_cast<float>(values[i]);
  }
  return out;
}

std::vector<int64_t> ModelKeys::numbers(std::string_view key) const {
  const std::string name = prefix_ + std::string(key);
  std::vector<int64_t> values =
      is_array(key) ? metadata_.integers(name) : std::vector<int64_t>{metadata_.integer(name)};
  for (const int64_t value : values) {
    if (value < 0 || value > kMaxCount) reject(key, "holds {}, expected 0 to {}", value, kMaxCount);
  }
  return values;
}

std::vector<int64_t> ModelKeys::entries(std::string_view key, size_t n) const {
  std::vector<int64_t> values = numbers(key);
  if (!is_array(key)) values.resize(n, values.front());
  if (values.size() < n) reject(key, "has {} entries for {} blocks", values.size(), n);
  values.resize(n);
  return values;
}

std::vector<uint64_t> ModelKeys::factors(std::string_view key, size_t n) const {
  std::vector<uint64_t> values = metadata_.unsigned_integers(prefix_ + std::string(key));
  if (values.size() != n) reject(key, "has {} entries, expected {}", values.size(), n);
  return values;
}

FfnConfig ModelKeys::experts() const {
  FfnConfig ffn;
  ffn.n_expert = count("expert_count", 0);
  if (ffn.n_expert == 0) return ffn;
  ffn.n_used = count("expert_used_count");
  ffn.n_group = std::max<int64_t>(1, count("expert_group_count", 1));
  ffn.n_group_used = std::max<int64_t>(1, count("expert_group_used_count", ffn.n_group));
  if (ffn.n_expert % ffn.n_group != 0 || ffn.n_group > compute::kMaxExpertGroups) {
    reject("expert_group_count", "is {}, expected a divisor of expert_count {} up to {}", ffn.n_group, ffn.n_expert,
           compute::kMaxExpertGroups);
  }
  const int64_t n_eligible = ffn.n_expert / ffn.n_group * std::min(ffn.n_group, ffn.n_group_used);
  if (ffn.n_used > n_eligible) reject("expert_used_count", "is {} of {} eligible experts", ffn.n_used, n_eligible);
  return ffn;
}

FfnConfig ModelKeys::required_experts() const {
  FfnConfig ffn = experts();
  if (ffn.n_expert == 0) reject("expert_count", "is 0 in a model with experts");
  ffn.n_ff = count("expert_feed_forward_length", 0);
  if (ffn.n_ff == 0) ffn.n_ff = std::max<int64_t>(1, count("feed_forward_length") / ffn.n_used);
  return ffn;
}

std::optional<compute::Gating> ModelKeys::gating() const {
  const int64_t code = count("expert_gating_func", 0);
  if (code == 0) return std::nullopt;
  if (code > static_cast<int64_t>(compute::Gating::kSqrtSoftplus)) {
    reject("expert_gating_func",
           "is {}, expected 1 (softmax), 2 (sigmoid), 3 (softmax of the chosen) or 4 (sqrt softplus)", code);
  }
  return static_cast<compute::Gating>(code);
}

compute::Gating ModelKeys::required_gating() const {
  const std::optional<compute::Gating> given = gating();
  if (!given) reject("expert_gating_func", "is missing");
  return *given;
}

float ModelKeys::expert_scale() const {
  const double scale = non_negative("expert_weights_scale", 0.0);
  return scale == 0.0 ? 1.0f : static_cast<float>(scale);
}

}  // namespace steelyard::model

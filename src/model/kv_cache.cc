#include "model/kv_cache.h"

#include "base/error.h"

namespace steelyard {
namespace {

// Attention decodes the rows of the cache head by head.
void check_heads(Type type, int64_t head, std::string_view what) {
  const Format& format = steelyard::format(type);
  if (format.encoder == nullptr || format.importance == Importance::kRequired) {
    fail("", "the cache cannot hold {} in {}", what, format.name);
  }
  if (head % format.block_len != 0) {
    fail("", "the cache cannot hold {} in {}: {} values do not divide into blocks of {}", what, format.name, head,
         format.block_len);
  }
}

TypedRows typed_rows(Type type, int64_t n_positions, int64_t width) {
  constexpr int64_t kAlignment = 64;
  const Format& format = steelyard::format(type);
  const int64_t bytes = width / format.block_len * format.block_bytes;
  return {&format, nullptr, n_positions, width, (bytes + kAlignment - 1) / kAlignment * kAlignment};
}

DeltaNetState make_delta_net_state(Backend& backend, const DeltaNetConfig& config) {
  const int64_t conv = (config.n_taps - 1) * config.conv_width(), rule = config.value_width() * config.head;
  DeltaNetState state;
  state.bytes = static_cast<size_t>(conv + rule) * sizeof(float);
  state.memory = backend.allocate(state.bytes);
  state.rule = reinterpret_cast<float*>(state.memory.get());
  state.conv = state.rule + rule;
  return state;
}

}  // namespace

void check_cache_types(const AttentionConfig& config, CacheTypes types) {
  if (config.mixer == Mixer::kDeltaNet) return;
  if (config.value_width() > 0) {
    check_heads(types.keys, config.head_k, "keys");
    check_heads(types.values, config.head_v, "values");
  } else {
    check_heads(types.keys, config.key_width(), "latents with keys");
    check_heads(types.keys, config.kv_lora_rank, "latents");
  }
}

KvLayer make_kv_layer(Backend& backend, const AttentionConfig& config, int64_t n_positions, CacheTypes types) {
  const bool has_values = config.value_width() > 0;
  KvLayer kv;
  if (config.mixer == Mixer::kDeltaNet) {
    kv.delta_net = make_delta_net_state(backend, config.delta_net);
    return kv;
  }
  kv.keys = typed_rows(types.keys, n_positions, config.key_width());
  if (has_values) kv.values = typed_rows(types.values, n_positions, config.value_width());
  const int64_t key_bytes = n_positions * kv.keys.stride;
  kv.memory = backend.allocate(static_cast<size_t>(key_bytes + n_positions * kv.values.stride));
  kv.keys.data = kv.memory.get();
  if (has_values) kv.values.data = kv.memory.get() + key_bytes;
  if (!has_values) kv.values = kv.keys.first_columns(config.kv_lora_rank);
  return kv;
}

KvCache make_kv_cache(Backend& backend, const ModelConfig& config, int64_t n_positions, CacheTypes types) {
  KvCache cache;
  for (const LayerConfig& layer : config.layers) {
    cache.push_back(make_kv_layer(backend, layer.attention, n_positions, types));
  }
  return cache;
}

}  // namespace steelyard

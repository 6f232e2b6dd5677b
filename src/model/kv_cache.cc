#include "model/kv_cache.h"

#include <algorithm>

#include "base/error.h"

namespace steelyard::model {
namespace {

// Attention decodes the rows of the cache head by head.
void check_heads(formats::Type type, int64_t head, std::string_view what) {
  const formats::Format& format = formats::format(type);
  if (format.encoder == nullptr || format.importance == formats::Importance::kRequired) {
    fail("", "the cache cannot hold {} in {}", what, format.name);
  }
  if (head % format.block_len != 0) {
    fail("", "the cache cannot hold {} in {}: {} values do not divide into blocks of {}", what, format.name, head,
         format.block_len);
  }
}

compute::TypedRows typed_rows(formats::Type type, int64_t n_positions, int64_t width) {
  constexpr int64_t kAlignment = 64;
  const formats::Format& format = formats::format(type);
  const int64_t bytes = width / format.block_len * format.block_bytes;
  return {&format, nullptr, n_positions, width, (bytes + kAlignment - 1) / kAlignment * kAlignment};
}

// Values of a gated delta net's state.
int64_t rule_size(const DeltaNetConfig& config) { return config.value_width() * config.head; }
int64_t conv_size(const DeltaNetConfig& config) { return (config.n_taps - 1) * config.conv_width(); }

DeltaNetState make_delta_net_state(Backend& backend, const DeltaNetConfig& config, uint64_t bytes) {
  DeltaNetState state;
  state.bytes = bytes;
  state.memory = backend.allocate(state.bytes);
  state.rule = reinterpret_cast<float*>(state.memory.get());
  state.conv = state.rule + rule_size(config);
  return state;
}

// Without memory.
KvLayer kv_views(const AttentionConfig& config, int64_t n_positions, CacheTypes types) {
  KvLayer kv;
  kv.window = config.window;
  kv.keys = typed_rows(types.keys, n_positions, config.key_width());
  if (config.value_width() > 0) kv.values = typed_rows(types.values, n_positions, config.value_width());
  return kv;
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

int64_t cache_rows(const AttentionConfig& config, int64_t n_positions, int64_t n_batch) {
  constexpr int64_t kMoveEvery = 256;
  if (config.window == 0 || config.mixer != Mixer::kAttention) return n_positions;
  return std::min(n_positions, config.window - 1 + n_batch + kMoveEvery);
}

uint64_t kv_layer_bytes(const AttentionConfig& config, int64_t n_rows, CacheTypes types) {
  if (config.mixer == Mixer::kDeltaNet) {
    return static_cast<uint64_t>(rule_size(config.delta_net) + conv_size(config.delta_net)) * sizeof(float);
  }
  const KvLayer kv = kv_views(config, n_rows, types);
  return static_cast<uint64_t>(n_rows * (kv.keys.stride + kv.values.stride));
}

KvLayer make_kv_layer(Backend& backend, const AttentionConfig& config, int64_t n_rows, CacheTypes types) {
  const uint64_t bytes = kv_layer_bytes(config, n_rows, types);
  if (config.mixer == Mixer::kDeltaNet) {
    KvLayer kv;
    kv.delta_net = make_delta_net_state(backend, config.delta_net, bytes);
    return kv;
  }
  KvLayer kv = kv_views(config, n_rows, types);
  kv.memory = backend.allocate(bytes);
  kv.keys.data = kv.memory.get();
  if (config.value_width() > 0)
    kv.values.data = kv.memory.get() + n_rows * kv.keys.stride;
  else
    kv.values = kv.keys.first_columns(config.kv_lora_rank);
  return kv;
}

}  // namespace steelyard::model

// What layers remember of past positions: keys and values, F32, or the state of a recurrence. Latent attention caches
// [latent | roped key] once; its values are a view of it.
#pragma once

#include <vector>

#include "compute/backend.h"
#include "model/config.h"

namespace steelyard {

/// What a gated delta net layer carries from token to token. It is of the positions before n_positions and of no
/// others: a sequence can be continued or begun anew at position 0, not taken back.
struct DeltaNetState {
  float* conv = nullptr;  // [n_taps - 1, conv_width]
  float* rule = nullptr;  // n_head * head * head
  Buffer memory;
  size_t bytes = 0;
  int64_t n_positions = 0;
};

inline DeltaNetState make_delta_net_state(Backend& backend, const DeltaNetConfig& config) {
  const int64_t conv = (config.n_taps - 1) * config.conv_width(), rule = config.value_width() * config.head;
  DeltaNetState state;
  state.bytes = static_cast<size_t>(conv + rule) * sizeof(float);
  state.memory = backend.allocate(state.bytes);
  state.rule = reinterpret_cast<float*>(state.memory.get());
  state.conv = state.rule + rule;
  return state;
}

/// One or the other, by the layer's mixer.
struct KvLayer {
  DeltaNetState delta_net;
  Matrix keys;    // [n_positions, key_width]
  Matrix values;  // [n_positions, value_width]; latent: the first kv_lora_rank columns of keys
  Buffer memory;
};

inline KvLayer make_kv_layer(Backend& backend, const AttentionConfig& config, int64_t n_positions) {
  const int64_t key_width = config.key_width(), value_width = config.value_width();
  KvLayer kv;
  if (config.mixer == Mixer::kDeltaNet) {
    kv.delta_net = make_delta_net_state(backend, config.delta_net);
    return kv;
  }
  kv.memory = backend.allocate(static_cast<size_t>(n_positions * (key_width + value_width)) * sizeof(float));
  auto* data = reinterpret_cast<float*>(kv.memory.get());
  kv.keys = {data, n_positions, key_width, key_width};
  kv.values = value_width > 0 ? Matrix{data + n_positions * key_width, n_positions, value_width, value_width}
                              : kv.keys.columns(0, config.kv_lora_rank);
  return kv;
}

using KvCache = std::vector<KvLayer>;  // one per layer of the trunk

inline KvCache make_kv_cache(Backend& backend, const ModelConfig& config, int64_t n_positions) {
  KvCache cache;
  for (const LayerConfig& layer : config.layers) cache.push_back(make_kv_layer(backend, layer.attention, n_positions));
  return cache;
}

}  // namespace steelyard

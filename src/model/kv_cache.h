// Keys and values of past positions, F32. Latent attention caches [latent | roped key] once; its values are a view of it.
#pragma once

#include <vector>

#include "compute/backend.h"
#include "model/config.h"

namespace steelyard {

struct KvLayer {
  Matrix keys;    // [n_positions, key_width]
  Matrix values;  // [n_positions, value_width]; latent: the first kv_lora_rank columns of keys
  Buffer memory;
};

inline KvLayer make_kv_layer(Backend& backend, const AttentionConfig& config, int64_t n_positions) {
  const int64_t key_width = config.key_width(), value_width = config.value_width();
  KvLayer kv;
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

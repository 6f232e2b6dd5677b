// What a model needs in the memory of devices, known before any of it is allocated: weights and caches by layer, so
// that layers can be laid out over devices, and what each device needs beside them. Pure arithmetic over a file's
// header; caches are counted by the functions that make_kv_layer allocates by.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "model/kv_cache.h"

namespace steelyard {

struct MemoryRequest {
  int64_t n_context = 0;  ///< positions of each sequence
  int64_t n_sequences = 1;
  int64_t n_batch = 512;  ///< tokens that pass a layer together
  int64_t n_outputs = 1;  ///< of them, those whose logits are asked for
  CacheTypes cache_types;
};

/// In bytes.
struct LayerMemory {
  uint64_t weights = 0;
  uint64_t cache = 0;  ///< keys and values, or the state of a recurrence, of all sequences
};

struct MemoryPlan {
  std::vector<LayerMemory> layers;  ///< of the trunk
  uint64_t embedding = 0;           ///< token_embd, where the first layer is
  uint64_t output = 0;       ///< output and its norm, where the last layer is; without the embedding if it is tied
  uint64_t prediction = 0;   ///< blocks that predict further tokens: in the file, but not loaded
  uint64_t tables = 0;       ///< RoPE's angles, on every device
  uint64_t activations = 0;  ///< residual stream, what is between operations, logits: on every device

  uint64_t weights() const;
  uint64_t caches() const;
  uint64_t total() const { return weights() + caches() + tables + activations; }
};

MemoryPlan plan_memory(const gguf::Reader& reader, const ModelConfig& config, const MemoryRequest& request);

/// Error with the numbers when the plan needs more than `free` bytes of the device `where`.
void check_fits(const MemoryPlan& plan, uint64_t free, const std::string& where);

/// The largest context, at most the model's own, with which the plan fits `free` bytes; 0 when none does.
int64_t largest_context(const gguf::Reader& reader, const ModelConfig& config, MemoryRequest request, uint64_t free);

}  // namespace steelyard

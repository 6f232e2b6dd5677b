#include "model/memory_plan.h"

#include <algorithm>

#include "base/error.h"
#include "model/sweep_plan.h"

namespace steelyard {
namespace {

// Vectors are decoded when they are bound.
uint64_t bound_bytes(const gguf::TensorInfo& tensor) {
  return tensor.n_dims < 2 ? static_cast<uint64_t>(tensor.n_elements()) * sizeof(float) : tensor.n_bytes;
}

// Layers whose angles are the same share a table.
uint64_t table_bytes(const ModelConfig& config, int64_t n_positions) {
  std::vector<RopeConfig> distinct;
  uint64_t values = 0;
  for (const LayerConfig& layer : config.layers) {
    const RopeConfig& rope = layer.attention.rope;
    if (std::ranges::find(distinct, rope) != distinct.end()) continue;
    distinct.push_back(rope);
    values += static_cast<uint64_t>(n_positions) * static_cast<uint64_t>(rope.n_dims);  // half cosines, half sines
  }
  return values * sizeof(float);
}

}  // namespace

uint64_t MemoryPlan::weights() const {
  uint64_t sum = embedding + output;
  for (const LayerMemory& layer : layers) sum += layer.weights;
  return sum;
}

uint64_t MemoryPlan::caches() const {
  uint64_t sum = 0;
  for (const LayerMemory& layer : layers) sum += layer.cache;
  return sum;
}

MemoryPlan plan_memory(const gguf::Reader& reader, const ModelConfig& config, const MemoryRequest& request) {
  MemoryPlan plan;
  plan.layers.resize(config.layers.size());
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const uint64_t bytes = bound_bytes(tensor);
    const auto block = block_of(tensor.name);
    if (!block)
      (tensor.name.starts_with("token_embd") ? plan.embedding : plan.output) += bytes;
    else
      (*block < plan.layers.size() ? plan.layers[*block].weights : plan.prediction) += bytes;
  }
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    plan.layers[i].cache = static_cast<uint64_t>(request.n_sequences) *
                           kv_layer_bytes(config.layers[i].attention, request.n_context, request.cache_types);
  }
  plan.tables = table_bytes(config, request.n_context);
  // Once for what operations read and write, once for copies of it in the form that a device multiplies.
  plan.activations = 2 * static_cast<uint64_t>(request.n_batch) * token_bytes(reader, config).in_block +
                     static_cast<uint64_t>(request.n_outputs * config.n_vocab) * sizeof(float);
  return plan;
}

void check_fits(const MemoryPlan& plan, uint64_t free, const std::string& where) {
  if (plan.total() <= free) return;
  const auto mib = [](uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  fail(where,
       "{} MiB do not fit: weights {}, cache {}, RoPE tables {}, activations {} MiB, and {} MiB are free; a shorter "
       "context, a cache in fewer bits or smaller batches need less",
       mib(plan.total()), mib(plan.weights()), mib(plan.caches()), mib(plan.tables), mib(plan.activations), free >> 20);
}

int64_t largest_context(const gguf::Reader& reader, const ModelConfig& config, MemoryRequest request, uint64_t free) {
  const auto fits = [&](int64_t n_context) {
    request.n_context = n_context;
    return plan_memory(reader, config, request).total() <= free;
  };
  int64_t low = 0, high = config.n_context;  // the answer lies in [low, high]
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    if (fits(middle))
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

}  // namespace steelyard

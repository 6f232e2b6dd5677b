// What a model needs in the memory of devices, known before any of it is allocated: weights and caches by layer, so
// that layers can be placed on devices, and what each device needs besides. Pure arithmetic over a file's header.
// Caches are counted by the functions with which make_kv_layer allocates. A session asks it before it loads, and `fit`
// before there is a device.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gguf/source.h"
#include "model/kv_cache.h"

namespace steelyard::schedule {

struct MemoryRequest {
  int64_t n_context = 0;  ///< positions of each sequence
  int64_t n_sequences = 1;
  int64_t n_batch = 512;  ///< tokens that pass a layer together
  int64_t n_outputs = 1;  ///< of them, those whose logits are asked for
  model::CacheTypes cache_types;
};

/// The tensors of a model: those of a file, or with other types those that a file would have.
struct ModelTensors {
  // NOLINTNEXTLINE(google-explicit-constructor): whoever has a file asks about its tensors
  ModelTensors(const gguf::Source& reader) : tensors(reader.tensors()), path(reader.path()) {}
  ModelTensors(std::span<const gguf::TensorInfo> tensors_, std::string path_)
      : tensors(tensors_), path(std::move(path_)) {}

  std::span<const gguf::TensorInfo> tensors;
  std::string path;  ///< for messages
};

/// Consecutive layers [begin, end) of the trunk.
struct LayerRange {
  int begin = 0, end = 0;

  int size() const { return end - begin; }
  bool empty() const { return begin == end; }
  bool operator==(const LayerRange&) const = default;
};

/// In bytes.
struct LayerMemory {
  uint64_t weights = 0;
  uint64_t cache = 0;  ///< keys and values, or the state of a recurrence, of all sequences
};

/// What one device needs for its layers, in bytes.
struct DeviceMemory {
  uint64_t weights = 0, caches = 0, tables = 0, activations = 0;

  uint64_t total() const { return weights + caches + tables + activations; }
};

/// Where a tensor lies.
struct TensorPlace {
  enum class Kind { kLayer, kEmbedding, kOutput, kPrediction, kHost };  ///< kHost: on no device

  Kind kind;
  size_t layer = 0;  ///< of kLayer
};

/// In a model whose trunk has so many layers.
TensorPlace place_of(std::string_view tensor, size_t n_layers);

struct MemoryPlan {
  std::vector<LayerMemory> layers;  ///< of the trunk
  uint64_t embedding = 0;           ///< token_embd, where the first layer is
  uint64_t output = 0;              ///< output and its norm, where the last layer is
  uint64_t tied_output = 0;         ///< the embedding once more where it is the output and the first layer is elsewhere
  uint64_t prediction = 0;          ///< blocks that predict further tokens: in the file, but not loaded
  uint64_t tables = 0;              ///< RoPE's angles, on every device
  uint64_t activations = 0;         ///< residual stream and what is between operations, on every device
  uint64_t logits = 0;              ///< where the last layer is

  LayerRange all() const { return {0, static_cast<int>(layers.size())}; }
  /// A device that holds no layer needs nothing.
  DeviceMemory on_device(LayerRange range) const;
  /// What of it is not in `layers`.
  DeviceMemory beside_layers(LayerRange range) const;
};

MemoryPlan plan_memory(const ModelTensors& model, const model::ModelConfig& config, const MemoryRequest& request);

/// Error with the numbers when more than `free` bytes of the device `where` are needed.
void check_fits(const DeviceMemory& needed, uint64_t free, const std::string& where);

/// The largest context, at most the model's own, whose plan `fits`; 0 when none does. A plan that fits a context must
/// also fit shorter ones.
int64_t largest_context(const ModelTensors& model, const model::ModelConfig& config, MemoryRequest request,
                        const std::function<bool(const MemoryPlan&)>& fits);

}  // namespace steelyard::schedule

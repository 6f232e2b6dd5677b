// A model file bound to a backend: configuration, trunk, and its layers on demand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "gguf/source.h"
#include "model/forward.h"

namespace steelyard::model {

class Model {
 public:
  /// Reads the configuration and binds the trunk. `reader` and `backend` outlive the model. Error for an unknown
  /// architecture, a missing or ill-typed key, a missing or unknown tensor or a wrong shape, or when heads do not
  /// divide into the blocks of a cache type. `loaded`: gets the head's tensors (see layer()).
  Model(const gguf::Source& reader, Backend& backend, CacheTypes cache_types = {}, LoadedTensors* loaded = nullptr);
  /// The same on several backends, one per layer of the trunk. The embedding is on the first layer's backend, the head
  /// and prediction blocks are on the last layer's.
  Model(const gguf::Source& reader, std::vector<Backend*> backends, CacheTypes cache_types = {},
        LoadedTensors* loaded = nullptr);

  const gguf::Source& reader() const { return reader_; }
  const ModelConfig& config() const { return config_; }
  CacheTypes cache_types() const { return cache_types_; }
  /// The backend of block i of the file.
  Backend& backend(int i) const { return *backends_[static_cast<size_t>(std::min(i, n_layers() - 1))]; }
  /// The backend of the head, and so of the logits.
  Backend& backend() const { return *backends_.back(); }
  int n_layers() const { return static_cast<int>(config_.layers.size()); }

  /// Prediction blocks that the file has after the trunk's layers.
  int n_predictions() const { return n_predictions_; }

  /// Block i of the file, ready for positions below n_positions. `bound`: layers bound for as many positions, whose
  /// RoPE tables are shared where the angles are the same. `loaded`: weights are taken from it, and added to it,
  /// instead of being loaded each time.
  Layer layer(int i, int64_t n_positions, std::span<const Layer> bound = {}, LoadedTensors* loaded = nullptr) const {
    return layer_on(backend(i), i, n_positions, bound, loaded);
  }
  /// The same on any backend: where several compute one layer.
  Layer layer_on(Backend& owner, int i, int64_t n_positions, std::span<const Layer> bound = {},
                 LoadedTensors* loaded = nullptr) const;

  /// Of block i in the file.
  uint64_t block_bytes(int i) const;

  /// The tensors of prediction block i besides layer(n_layers() + i).
  PredictionWeights prediction(int i) const;
  /// Block i will be used soon, or not again for long: hints to the kernel, which reads it ahead or drops it from
  /// memory. Without such a block nothing happens.
  void will_need(int i) const;
  void release(int i) const;
  /// The same after the last embed(): drops the embedding, unless the head needs it.
  void release_embedding() const;

  /// Rows of the embedding for host ids, each < n_vocab (Error otherwise); out: hidden states [ids.size(),
  /// hidden_width], on the first layer's backend.
  void embed(std::span<const int32_t> ids, Matrix out) const;
  /// Rows [ids.size(), n_embd] of a table, a prediction block's: where `backend` is.
  void embed(const Weight& table, Backend& backend, std::span<const int32_t> ids, Matrix out) const;

  /// The table of the trunk, on the first layer's backend.
  const Weight& embedding() const { return trunk_.token_embd; }
  /// The output matrix; the embedding where the file has no matrix of its own.
  const Weight& output() const { return trunk_.output; }
  /// The input of the output matrix: hidden states x, normed, in scratch memory.
  Matrix head_input(Matrix x, ForwardContext& ctx) const;

  /// Logits [x.rows, n_vocab] of hidden states x, in scratch memory.
  Matrix logits(Matrix x, ForwardContext& ctx) const;

 private:
  std::span<const gguf::TensorInfo* const> tensors_of(int i) const;
  std::span<const float> rope_factors(const RopeConfig& rope, bool extended) const;

  const gguf::Source& reader_;
  ModelConfig config_;
  std::vector<Backend*> backends_;  // of each layer of the trunk
  CacheTypes cache_types_;
  TrunkWeights trunk_;
  int n_predictions_ = 0;
  std::vector<std::vector<const gguf::TensorInfo*>> tensors_of_;  // by block of the file
};

}  // namespace steelyard::model

// A model file bound to a backend: configuration, trunk, and its layers on demand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "gguf/reader.h"
#include "model/memory_plan.h"
#include "model/workplaces.h"

namespace steelyard {

class Model {
 public:
  /// Reads the configuration and binds the trunk. `reader` and `backend` outlive the model. Error for an unknown
  /// architecture, a missing or ill-typed key, a missing tensor or a wrong shape, or when heads do not divide into the
  /// blocks of a cache type.
  Model(const gguf::Reader& reader, Backend& backend, CacheTypes cache_types = {});
  /// The same on several backends, one given for each layer of the trunk. The embedding is where the first layer is,
  /// the head and prediction blocks are where the last one is.
  Model(const gguf::Reader& reader, std::vector<Backend*> backends, CacheTypes cache_types = {});

  const gguf::Reader& reader() const { return reader_; }
  const ModelConfig& config() const { return config_; }
  CacheTypes cache_types() const { return cache_types_; }
  /// Where block i of the file is.
  Backend& backend(int i) const { return *backends_[static_cast<size_t>(std::min(i, n_layers() - 1))]; }
  /// Where the head is, and so logits are.
  Backend& backend() const { return *backends_.back(); }
  int n_layers() const { return static_cast<int>(config_.layers.size()); }

  /// Whether each backend's memory, or all of the host's, has room for its part of a session that needs so much.
  bool has_room(const MemoryPlan& plan) const;
  /// Error with the numbers when a backend's has not. The host's is not checked: its weights are maps of the file.
  void check_room(const MemoryRequest& request) const;

  /// Prediction blocks that the file has after the trunk's layers.
  int n_predictions() const { return n_predictions_; }

  /// Block i of the file, ready for positions below n_positions. `bound`: layers bound for as many positions, whose
  /// RoPE tables are shared where the angles are the same. `loaded`: where weights are taken from, and added to, rather
  /// than loaded each time.
  Layer layer(int i, int64_t n_positions, std::span<const Layer> bound = {}, LoadedWeights* loaded = nullptr) const;

  /// Of block i in the file.
  uint64_t block_bytes(int i) const;

  /// What prediction block i has beside layer(n_layers() + i).
  PredictionWeights prediction(int i) const;
  /// Block i will be used soon, or not again for long: hints to the kernel, which reads it ahead or drops it from
  /// memory. Without such a block nothing happens.
  void will_need(int i) const;
  void release(int i) const;
  /// The same after the last embed(): drops the embedding, unless the head needs it.
  void release_embedding() const;

  /// Rows of the embedding for host ids, each < n_vocab (Error otherwise); out: [ids.size(), n_embd], where the first
  /// layer is.
  void embed(std::span<const int32_t> ids, Matrix out) const { embed(trunk_.token_embd, backend(0), ids, out); }
  /// The same for a prediction block, of its own table or where that is empty the trunk's, in scratch memory.
  Matrix embed(const Weight& table, std::span<const int32_t> ids, Pass& pass) const;

  /// The output matrix; the embedding where the file has no matrix of its own.
  const Weight& output() const { return trunk_.output; }
  /// What the output matrix reads: residual rows x, normed, in scratch memory.
  Matrix head_input(Matrix x, Pass& pass) const { return normed(trunk_.output_norm, x, pass); }

  /// Logits [x.rows, n_vocab] of residual rows x, in scratch memory.
  Matrix logits(Matrix x, Pass& pass) const;

 private:
  // A backend and the layers it holds.
  using Part = std::pair<Backend*, LayerRange>;
  std::vector<Part> parts() const;
  void embed(const Weight& table, Backend& backend, std::span<const int32_t> ids, Matrix out) const;

  const gguf::Reader& reader_;
  ModelConfig config_;
  std::vector<Backend*> backends_;  // of each layer of the trunk
  CacheTypes cache_types_;
  TrunkWeights trunk_;
  int n_predictions_ = 0;
};

/// Tokens that continue one of a session's sequences.
struct SequenceTokens {
  int64_t sequence;
  std::span<const int32_t> ids;
};

/// Token-major iteration: all layers bound, one batch after the other through all of them. A session has one sequence
/// or several, which know nothing of each other and may share a batch.
class Session {
 public:
  /// Room for n_context positions in each of n_sequences sequences. Error, before anything is loaded, when the
  /// backend's memory is too small for it.
  Session(const Model& model, int64_t n_context, int64_t n_sequences = 1);

  int64_t n_sequences() const { return static_cast<int64_t>(ids_.size()); }
  /// Positions used so far; reset() forgets them, in all sequences.
  int64_t position(int64_t sequence = 0) const { return static_cast<int64_t>(ids(sequence).size()); }
  /// What was appended since the last reset(): what first_non_finite() asks for when logits are broken.
  const std::vector<int32_t>& ids(int64_t sequence = 0) const { return ids_.at(static_cast<size_t>(sequence)); }
  void reset() {
    std::ranges::for_each(ids_, [](std::vector<int32_t>& ids) { ids.clear(); });
  }

  /// Appends ids to sequence 0; as forward_batch.
  Matrix forward(std::span<const int32_t> ids);
  /// Appends ids to one or more different sequences, whose rows follow each other in the result; the residual stream
  /// after the last layer [n_ids, n_embd], valid until the next call. Error when the context is full or an id is beyond
  /// the vocabulary.
  Matrix forward_batch(std::span<const SequenceTokens> batch);

  /// Logits of (a slice of) the residual stream, valid until the next call of forward or logits.
  Matrix logits(Matrix x);

 private:
  const Model& model_;
  int64_t n_context_;
  std::vector<Layer> layers_;
  std::vector<KvCache> caches_;            // one per sequence
  std::vector<std::vector<int32_t>> ids_;  // one per sequence
  Workplaces workplaces_;
};

}  // namespace steelyard

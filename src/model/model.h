// A model file bound to a backend: configuration, trunk, and its layers on demand.
#pragma once

#include <cstdint>
#include <span>

#include "gguf/reader.h"
#include "model/forward.h"

namespace steelyard {

class Model {
 public:
  /// Reads the configuration and binds the trunk. `reader` and `backend` outlive the model. Error for an unknown
  /// architecture, a missing or ill-typed key, a missing tensor or a wrong shape.
  Model(const gguf::Reader& reader, Backend& backend);

  const ModelConfig& config() const { return config_; }
  Backend& backend() const { return backend_; }
  int n_layers() const { return static_cast<int>(config_.layers.size()); }

  /// Layer i, ready for positions below n_positions. `like`: a layer bound for as many positions, whose RoPE table is
  /// shared where the angles are the same; null: none.
  Layer layer(int i, int64_t n_positions, const Layer* like = nullptr) const;

  /// Rows of the embedding for host ids, each < n_vocab (Error otherwise); out: [ids.size(), n_embd].
  void embed(std::span<const int32_t> ids, Matrix out) const;

  /// Logits [x.rows, n_vocab] of residual rows x, in scratch memory.
  Matrix logits(Matrix x, Pass& pass) const;

 private:
  const gguf::Reader& reader_;
  Backend& backend_;
  ModelConfig config_;
  TrunkWeights trunk_;
};

/// Token-major iteration over one sequence: all layers bound, one batch after the other through all of them.
class Session {
 public:
  /// Room for n_context positions.
  Session(const Model& model, int64_t n_context);

  /// Sees every product from now on; null: nobody.
  void observe(MatmulObserver* observer) { pass_.observer = observer; }

  /// Positions used so far; reset() forgets them.
  int64_t position() const { return position_; }
  void reset() { position_ = 0; }

  /// Appends ids to the sequence; the residual stream after the last layer [ids.size(), n_embd], valid until the next call.
  /// Error when the context is full or an id is beyond the vocabulary.
  Matrix forward(std::span<const int32_t> ids);

  /// Logits of (a slice of) the residual stream, valid until the next call of forward or logits.
  Matrix logits(Matrix x);

 private:
  const Model& model_;
  int64_t n_context_;
  std::vector<Layer> layers_;
  KvCache cache_;
  Scratch scratch_;
  Pass pass_;
  int64_t position_ = 0;
  Buffer residual_;
  int64_t residual_rows_ = 0;
};

}  // namespace steelyard

// The observer that records which experts the scored tokens of a sweep's window chose in every layer, as sets:
// ascending, whatever their rank. Used by score_chunks; bases store the sets and router agreement compares them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compute/observer.h"
#include "evaluate/model_identity.h"
#include "evaluate/statistics.h"
#include "tokenizer/chunks.h"

namespace steelyard::evaluate {

class ExpertRecorder : public compute::MatmulObserver {
 public:
  /// Both must outlive the recorder.
  ExpertRecorder(const ExpertShape& shape, const tokenizer::Chunks& chunks)
      : shape_(shape), chunks_(chunks), chosen_(shape.layers.size()) {}

  /// A window begins with this chunk: forgets the previous one.
  void start(int64_t first_chunk);

  void dense(compute::Backend&, const compute::Weight&, int64_t, compute::Matrix) override {}
  void experts(compute::Backend&, const compute::Weight&, compute::Matrix, const compute::Routing&) override {}
  void routed(compute::Backend& backend, const compute::Weight& router, const compute::Routing& routing) override;
  void end_batch(compute::Backend& backend, bool counts) override;

  /// Of the window's chunks in a layer of the shape [chunks * n_scored, n_used]: to hand on what another rank has seen.
  std::vector<uint16_t>& of_layer(size_t layer) { return chosen_[layer]; }
  const ExpertShape& shape() const { return shape_; }

  /// Of scored positions [first, first + n) of a chunk [n, n_layers, n_used], valid until the next call.
  std::span<const uint16_t> choices(int64_t chunk, int64_t first, int64_t n);

 private:
  const ExpertShape& shape_;
  const tokenizer::Chunks& chunks_;
  int64_t first_chunk_ = 0;
  std::vector<std::vector<uint16_t>> chosen_;  // per layer [chunks so far * n_scored, n_used]
  size_t layer_ = 0;                           // that the batch passes now, an index of shape_.layers
  std::vector<uint16_t> batch_;                // its rows in this layer so far [rows, n_used]
  std::vector<uint16_t> rows_;
};

/// Agreement of a layer's choices with the base's.
struct RouterCounts {
  int64_t n_tokens = 0;
  int64_t n_same = 0;    ///< tokens whose set of experts is the base's
  int64_t n_shared = 0;  ///< experts that both sets have, over all tokens

  RouterCounts& operator+=(const RouterCounts& other);
  MeanEstimate same() const { return share_estimate(n_same, n_tokens); }
  /// Share of the base's experts that are chosen too.
  double overlap(int64_t n_used) const;
};

/// Adds one token's choices in all layers; a and b [counts.size(), n_used], ascending within a layer.
void count_agreement(std::span<const uint16_t> a, std::span<const uint16_t> b, std::span<RouterCounts> counts);

}  // namespace steelyard::evaluate

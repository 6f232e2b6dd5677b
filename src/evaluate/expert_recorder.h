// The observer that keeps which experts a batch's tokens chose in every layer, as sets: ascending, whatever their rank.
// Used by score_chunks; bases store the sets and router agreement compares them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "compute/observer.h"
#include "evaluate/model_identity.h"
#include "evaluate/statistics.h"

namespace steelyard {

class ExpertRecorder : public MatmulObserver {
 public:
  explicit ExpertRecorder(const ExpertShape& shape) : shape_(shape), chosen_(shape.layers.size()) {}

  void dense(Backend&, const Weight&, int64_t, Matrix) override {}
  void experts(Backend&, const Weight&, Matrix, const Routing&) override {}
  void routed(Backend& backend, const Weight& router, const Routing& routing) override;

  /// Rows [first, first + n) of the last batch [n, n_layers, n_used], valid until the next call.
  std::span<const uint16_t> choices(int64_t first, int64_t n);

 private:
  const ExpertShape& shape_;
  std::vector<std::vector<uint16_t>> chosen_;  // per layer [rows of the last batch, n_used]
  std::vector<uint16_t> rows_;
};

/// How a layer's choices agree with the base's.
struct RouterCounts {
  int64_t n_tokens = 0;
  int64_t n_same = 0;    ///< tokens whose set of experts is the base's
  int64_t n_shared = 0;  ///< experts that both sets have, over all tokens

  MeanEstimate same() const { return share_estimate(n_same, n_tokens); }
  /// Share of the base's experts that are chosen too.
  double overlap(int64_t n_used) const;
};

/// Adds one token's choices in all layers; a and b [counts.size(), n_used], ascending within a layer.
void count_agreement(std::span<const uint16_t> a, std::span<const uint16_t> b, std::span<RouterCounts> counts);

}  // namespace steelyard

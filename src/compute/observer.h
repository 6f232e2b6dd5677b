// An observer sees the inputs of every matrix product and the chosen experts. The model does not know why it is
// observed: importance, coverage and Hessians are collected by observers (calibrate/).
#pragma once

#include <cstdint>

#include "compute/backend.h"

namespace steelyard::compute {

class MatmulObserver {
 public:
  virtual ~MatmulObserver() = default;
  /// x [n, n_in] is about to go through one slice of `weight` (slice > 0: a head of a per-head tensor).
  virtual void dense(Backend& backend, const Weight& weight, int64_t slice, Matrix x) = 0;
  /// x [n_slots, n_in], rows in expert order, is about to go through the experts of `weight`.
  virtual void experts(Backend& backend, const Weight& weight, Matrix x, const Routing& routing) = 0;
  /// Experts were chosen from the output of `router` (a layer's ffn_gate_inp). `routing` is complete and in `backend`'s
  /// memory.
  virtual void routed(Backend& /*backend*/, const Weight& /*router*/, const Routing& /*routing*/) {}
  /// A sweep (schedule/layer_sweep.h) has finished a batch in a layer. What was seen since the last call counts. If
  /// numbers were not finite it must be discarded instead: it will be shown again without the broken sequences.
  virtual void end_batch(Backend& /*backend*/, bool /*counts*/) {}
};

}  // namespace steelyard::compute

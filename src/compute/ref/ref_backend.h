// The reference backend: every operation as its formula, one value at a time, summed in double. It is the specification
// against which other backends are tested, and is never used where speed matters.
#pragma once

#include "compute/host_backend.h"

namespace steelyard::compute {

class RefBackend : public HostBackend {
 public:
  std::string_view name() const override { return "ref"; }

  void rms_norm(Matrix x, const float* weight, float eps, Matrix out) override;
  void add(Matrix x, Matrix y) override;
  void add_row(Matrix x, const float* row) override;
  void scale(Matrix x, float factor) override;
  void softcap(Matrix x, float cap) override;
  void gated(Activation activation, Matrix gate, Matrix up) override;
  void sigmoid_gate(Matrix x, Matrix gate) override;
  void rope(Matrix x, const RopeArgs& args) override;
  void attention(const AttentionArgs& args, Matrix out) override;
  void causal_conv(Matrix x, const float* taps, int64_t n_taps, float* state, Matrix out) override;
  void delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) override;
  void gather(Matrix x, const Routing& routing, Matrix out) override;
  void combine(Matrix y, const Routing& routing, Matrix out) override;
  void sum_squares(Matrix x, double* sums) override;
  void sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) override;
  void second_moments(Matrix x, Matrix y, float* sums) override;
  void second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) override;

 protected:
  void multiply(std::span<const Product> products) override;
};

}  // namespace steelyard::compute

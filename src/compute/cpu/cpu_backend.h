// The CPU backend: OpenMP over rows, oneDNN for large F32 products, per-ISA kernels for the rest. Weights of any type
// stay as they are in the file; a tile of rows is decoded to F32 when a product needs it, so memory stays bounded and
// every product is exact up to F32 rounding.
#pragma once

#include "compute/cpu/delta_net.h"
#include "compute/cpu/kernels.h"
#include "compute/host_backend.h"

namespace steelyard {

class CpuBackend : public HostBackend {
 public:
  CpuBackend() : kernels_(cpu::kernels(chosen_isa())), delta_net_(cpu::delta_net_kernels(chosen_isa())) {}
  std::string_view name() const override { return "cpu"; }

  void rms_norm(Matrix x, const float* weight, float eps, Matrix out) override;
  void add(Matrix x, Matrix y) override;
  void add_row(Matrix x, const float* row) override;
  void scale(Matrix x, float factor) override;
  void softcap(Matrix x, float cap) override;
  void gated(Activation activation, Matrix gate, Matrix up) override;
  void sigmoid_gate(Matrix x, Matrix gate) override;
  void mul_mat(const Weight& weight, int64_t slice, Matrix x, Matrix out) override;
  void rope(Matrix x, const RopeArgs& args) override;
  void attention(const AttentionArgs& args, Matrix out) override;
  void causal_conv(Matrix x, const float* taps, int64_t n_taps, float* state, Matrix out) override;
  void delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) override;
  void gather(Matrix x, const Routing& routing, Matrix out) override;
  void combine(Matrix y, const Routing& routing, Matrix out) override;
  void sum_squares(Matrix x, double* sums) override;
  void sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) override;
  void second_moments(Matrix x, float* sums) override;
  void second_moments_experts(Matrix x, const Routing& routing, float* sums, int64_t* counts) override;

 private:
  void mul_mat_rows(const Weight& weight, int64_t slice, Matrix x, Matrix out);  // few tokens: one weight row at a time
  void mul_mat_tiles(const Weight& weight, int64_t slice, Matrix x, Matrix out);  // many tokens: tiles through GEMM

  const cpu::Kernels& kernels_;
  const cpu::DeltaNetKernels& delta_net_;
};

}  // namespace steelyard

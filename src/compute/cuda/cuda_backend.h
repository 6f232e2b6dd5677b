// The CUDA backend: one device, operations in one stream. Weights of any type stay as they are in the file; kernels
// decode them as they multiply. Operations launch the kernels in this folder and return before these are done. Only
// download waits. There a kernel that failed shows, as an Error.
#pragma once

#include <cublas_v2.h>

#include "compute/backend.h"
#include "compute/cuda/products.h"
#include "compute/cuda/runtime.h"

namespace steelyard::compute {

class CudaBackend : public Backend {
 public:
  /// Error when there is no such device.
  CudaBackend(int device, Precision precision);
  ~CudaBackend() override;
  std::string_view name() const override { return device_.name(); }

  std::optional<uint64_t> free_memory() const override { return device_.free_memory(); }
  Buffer allocate(size_t bytes) override { return device_.allocate(bytes); }
  void upload(void* device, const void* host, size_t bytes) override { device_.upload(device, host, bytes); }
  void download(void* host, const void* device, size_t bytes) override { device_.download(host, device, bytes); }
  void zero(void* device, size_t bytes) override;
  Buffer allocate_copy(const void* host, size_t bytes) override { return device_.allocate_copy(host, bytes); }
  Weight load(Weight host) override;

  void embed(const Weight& table, std::span<const int32_t> ids, Matrix out) override;
  void rms_norm(Matrix x, const float* weight, float eps, Matrix out) override;
  void add(Matrix x, Matrix y) override;
  void add_row(Matrix x, const float* row) override;
  void copy(Matrix from, Matrix to) override;
  void scale(Matrix x, float factor) override;
  void softcap(Matrix x, float cap) override;
  void gated(Activation activation, Matrix gate, Matrix up) override;
  void sigmoid_gate(Matrix x, Matrix gate) override;
  void mul_mats(std::span<const Product> products) override;
  void store(Matrix from, TypedRows to) override;
  void rope(Matrix x, const RopeArgs& args) override;
  void attention(const AttentionArgs& args, Matrix out) override;
  void causal_conv(Matrix x, const float* taps, int64_t n_taps, float* state, Matrix out) override;
  void delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) override;
  void route(Matrix logits, const RouteArgs& args, Routing& routing) override;
  void add_row_experts(Matrix y, const float* rows, const Routing& routing) override;
  void gather(Matrix x, const Routing& routing, Matrix out) override;
  void combine(Matrix y, const Routing& routing, Matrix out) override;
  void sum_squares(Matrix x, double* sums) override;
  void sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) override;
  void second_moments(Matrix x, Matrix y, float* sums) override;
  void second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) override;

 private:
  // How a product is computed, by type, precision, device and number of rows.
  struct Method {
    cuda::ProductKernel kernel;
    bool coded;   // on codes of the activations
    int n_parts;  // or on so many parts of them; 0: as they are
    bool blas;    // by cuBLAS instead of the kernel
  };
  Method method(const formats::Format& format, int64_t n_rows, bool experts) const;
  void multiply(const formats::Format& format, cuda::ProductArgs args);
  void multiply_by_blas(const cuda::ProductArgs& args);
  void run(cudaError_t launched, const char* what) const { device_.check(launched, what); }

  cuda::Device device_;
  const Precision precision_;
  cublasHandle_t blas_ = nullptr;
  cuda::Workspace codes_, scales_, sums_, ids_, partial_;
};

}  // namespace steelyard::compute

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

#define OPERATION(name, ...) void name(__VA_ARGS__) override;
#define HOST_OPERATION OPERATION
#include "compute/operations.def"

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
  void attend(const AttentionArgs& args, Matrix out);
  // Error for a type that keys are not cached in.
  void check_cache_type(const formats::Format& format) const;
  // Of cuda_backward.cc: rows of a weight that experts have tokens for; these rows in F32, until the next call; and the
  // gradients of some rows' stored scales.
  const int32_t* used_rows(const cuda::ProductArgs& part);
  const float* decode(const formats::Format& format, const std::byte* blocks, const cuda::ProductArgs& part,
                      const int32_t* rows);
  void add_scale_gradients(const formats::Format& format, const cuda::ProductArgs& part, float* sums);
  void run(cudaError_t launched, const char* what) const { device_.check(launched, what); }

  cuda::Device device_;
  const Precision precision_;
  cublasHandle_t blas_ = nullptr;
  cuda::Workspace codes_, scales_, sums_, ids_, partial_;
  cuda::Workspace values_, gradients_, blocks_;  // of backward passes
};

}  // namespace steelyard::compute

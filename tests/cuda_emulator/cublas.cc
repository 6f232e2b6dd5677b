#include <cublas_v2.h>

#include "cuda_emulator/memory.h"
#include "cuda_emulator/streams.h"

using namespace steelyard::cuda_emulator;

struct cublasContext {
  cudaStream_t stream = nullptr;
};

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}

namespace {

bool holds(const void* p, size_t bytes, int device) { return memory::readable_on_device(p, bytes, device); }

}  // namespace

cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m, int n, int k,
                            const void* alpha, const void* a, cudaDataType_t type_a, int lda, const void* b,
                            cudaDataType_t type_b, int ldb, const void* beta, void* c, cudaDataType_t type_c, int ldc,
                            cublasComputeType_t, cublasGemmAlgo_t) {
  Lock lock(runtime_mutex);
  if (op_a != CUBLAS_OP_T || op_b != CUBLAS_OP_N || type_a != CUDA_R_16BF || type_b != CUDA_R_16BF ||
      type_c != CUDA_R_32F || lda < k || ldb < k || ldc < m) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  CUstream_st* stream = resolve(handle->stream);
  const auto extent = [](int rows, int stride, int width) { return size_t(rows - 1) * size_t(stride) + size_t(width); };
  if (!holds(a, extent(m, lda, k) * 2, stream->device) || !holds(b, extent(n, ldb, k) * 2, stream->device) ||
      !holds(c, extent(n, ldc, m) * 4, stream->device)) {
    return CUBLAS_STATUS_EXECUTION_FAILED;
  }
  const float times = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  enqueue(stream, [=] {
    const auto* left = reinterpret_cast<const uint16_t*>(memory::alias(a));
    const auto* right = reinterpret_cast<const uint16_t*>(memory::alias(b));
    auto* out = reinterpret_cast<float*>(memory::alias(c));
    for (int col = 0; col < n; ++col) {
      for (int row = 0; row < m; ++row) {
        float sum = 0;
        for (int i = 0; i < k; ++i) {
          sum += bf16_to_float(left[size_t(row) * size_t(lda) + size_t(i)]) *
                 bf16_to_float(right[size_t(col) * size_t(ldb) + size_t(i)]);
        }
        float& value = out[size_t(col) * size_t(ldc) + size_t(row)];
        value = times * sum + (keep == 0 ? 0 : keep * value);
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}

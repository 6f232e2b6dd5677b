// The loss and its gradient, and steps along gradients.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

// A block per row. The loss of a good model is the small difference of large terms: they are added in F64. named:
// [rows, n], the gradients of the tokens that the target names, until the others are written.
__global__ void __launch_bounds__(kMaxThreads)
    diverge_rows(Matrix logits, int64_t n, const int32_t* tokens, const float* probs, float* named, float* loss) {
  CUDA_SHARED(share, float);  // of q that is the gradient of the tokens that are not named
  float* x = logits.data + blockIdx.x * logits.stride;
  tokens += blockIdx.x * n;
  probs += blockIdx.x * n;
  named += blockIdx.x * n;
  float largest = -__int_as_float(0x7F800000), sum = 0;
  for (int64_t c = threadIdx.x; c < logits.cols; c += blockDim.x) largest = fmaxf(largest, x[c]);
  largest = block_max(largest);
  for (int64_t c = threadIdx.x; c < logits.cols; c += blockDim.x) sum += expf(x[c] - largest);
  sum = block_sum(sum);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (tokens[i] >= 0) named[i] = expf(x[tokens[i]] - largest) / sum - probs[i];
  }
  if (threadIdx.x == 0) {
    const double log_sum = log(static_cast<double>(sum)) + static_cast<double>(largest);
    double total = 0, rest_p = 1, rest_q = 1;
    for (int64_t i = 0; i < n; ++i) {
      if (tokens[i] < 0) continue;
      const double p = probs[i], log_q = static_cast<double>(x[tokens[i]]) - log_sum;
      if (p > 0) total += p * (log(p) - log_q);
      rest_p -= p;
      rest_q -= exp(log_q);
    }
    rest_q = rest_q > kLeastRest ? rest_q : kLeastRest;
    if (rest_p < kLeastRest) rest_p = 0;
    if (rest_p > 0) total += rest_p * log(rest_p / rest_q);
    share = static_cast<float>(1 - rest_p / rest_q);
    loss[blockIdx.x] = static_cast<float>(total);
  }
  __syncthreads();
  for (int64_t c = threadIdx.x; c < logits.cols; c += blockDim.x) x[c] = expf(x[c] - largest) / sum * share;
  __syncthreads();
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (tokens[i] >= 0) x[tokens[i]] = named[i];
  }
}

__global__ void __launch_bounds__(kMaxThreads)
    step_of_adam(AdamArgs args, int64_t n, const float* gradients, float* m, float* v, float* values) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMaxThreads + threadIdx.x;
  if (i >= n) return;
  const float g = gradients[i];
  m[i] = args.beta1 * m[i] + (1.0f - args.beta1) * g;
  v[i] = args.beta2 * v[i] + (1.0f - args.beta2) * g * g;
  if (v[i] == 0) return;
  const float size = args.size > 0 ? args.size : fabsf(values[i]);
  values[i] -= args.rate * size * (m[i] / args.correction1) / sqrtf(v[i] / args.correction2);
}

}  // namespace

cudaError_t divergence(Matrix logits, const TargetRows& target, float* named, float* loss, cudaStream_t stream) {
  if (logits.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(diverge_rows, dim3(static_cast<unsigned>(logits.rows)), threads_for(logits.cols), 0, stream,
                     logits, target.n, target.tokens, target.probs, named, loss);
}

cudaError_t adam(const AdamArgs& args, int64_t n, const float* gradients, float* m, float* v, float* values,
                 cudaStream_t stream) {
  if (n == 0) return cudaSuccess;
  return CUDA_LAUNCH(step_of_adam, dim3(blocks_for(n, kMaxThreads)), dim3(kMaxThreads), 0, stream, args, n, gradients,
                     m, v, values);
}

}  // namespace steelyard::compute::cuda

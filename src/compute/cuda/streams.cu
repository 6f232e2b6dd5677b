// Residual streams: the weights that mix them, the mixing, and what gates and pools.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

struct Hyper {
  Matrix m;
  const float *base, *scale;
  int64_t n_streams, n_iterations;
  double eps;
};

// A warp per token, in place: a lane has a source's row or a target's column of the mix at a time.
__global__ void __launch_bounds__(kWarp) weigh_streams(Hyper args) {
  float* const row = args.m.data + blockIdx.x * args.m.stride;
  const int64_t n = args.n_streams, lane = threadIdx.x;
  const auto eps = static_cast<float>(args.eps);
  const auto value = [&](int64_t c, int part) { return fmaf(row[c], args.scale[part], args.base[c]); };
  for (int64_t c = lane; c < n; c += kWarp) row[c] = sigmoid(value(c, 0)) + eps;
  if (args.m.cols == n) return;
  for (int64_t c = n + lane; c < 2 * n; c += kWarp) row[c] = 2.0f * sigmoid(value(c, 1));
  for (int64_t source = lane; source < n; source += kWarp) {  // a softmax over targets
    const int64_t begin = (2 + source) * n, end = begin + n;
    float largest = -__int_as_float(0x7F800000), sum = 0;
    for (int64_t i = begin; i < end; ++i) largest = fmaxf(largest, row[i] = value(i, 2));
    for (int64_t i = begin; i < end; ++i) sum += row[i] = expf(row[i] - largest);
    for (int64_t i = begin; i < end; ++i) row[i] = row[i] / sum + eps;
  }
  // Divides n values, `stride` apart, by their sum.
  const auto divide = [&](int64_t begin, int64_t stride) {
    float sum = eps;
    for (int64_t i = 0; i < n; ++i) sum += row[begin + i * stride];
    for (int64_t i = 0; i < n; ++i) row[begin + i * stride] /= sum;
  };
  for (int64_t iteration = 0; iteration < args.n_iterations; ++iteration) {
    __syncwarp();
    for (int64_t source = lane; iteration > 0 && source < n; source += kWarp) divide((2 + source) * n, 1);
    __syncwarp();
    for (int64_t target = lane; target < n; target += kWarp) divide(2 * n + target, n);
  }
}

struct Mix {
  Matrix x, weights, out;
  int64_t width, n_in, n_out, add;
};

// A block per token.
__global__ void __launch_bounds__(kMaxThreads) mix_rows(Mix args) {
  const float *x = args.x.data + blockIdx.x * args.x.stride,
              *weights = args.weights.data + blockIdx.x * args.weights.stride;
  float* out = args.out.data + blockIdx.x * args.out.stride;
  for (int64_t c = threadIdx.x; c < args.out.cols; c += blockDim.x) {
    const int64_t to = c / args.width, column = c % args.width;
    float sum = args.add != 0 ? out[c] : 0.0f;
    for (int64_t from = 0; from < args.n_in; ++from)
      sum = fmaf(weights[from * args.n_out + to], x[from * args.width + column], sum);
    out[c] = sum;
  }
}

// A block per row.
__global__ void __launch_bounds__(kMaxThreads) compare_rows(Matrix x, Matrix y, Matrix out) {
  const float *a = x.data + blockIdx.x * x.stride, *b = y.data + blockIdx.x * y.stride;
  float dot = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) dot = fmaf(a[c], b[c], dot);
  dot = block_sum(dot) / sqrtf(static_cast<float>(x.cols));
  if (threadIdx.x == 0) out.data[blockIdx.x * out.stride] = sigmoid(copysignf(sqrtf(fmaxf(fabsf(dot), 1e-6f)), dot));
}

// A block per row of the result.
__global__ void __launch_bounds__(kMaxThreads) pool_rows(Matrix x, Matrix scores, int64_t n, Matrix out) {
  const int64_t first = blockIdx.x * n;
  for (int64_t c = threadIdx.x; c < out.cols; c += blockDim.x) {
    const auto score = [&](int64_t i) { return scores.data[(first + i) * scores.stride + c]; };
    float largest = -__int_as_float(0x7F800000), sum = 0, mix = 0;
    for (int64_t i = 0; i < n; ++i) largest = fmaxf(largest, score(i));
    for (int64_t i = 0; i < n; ++i) {
      const float weight = expf(score(i) - largest);
      sum += weight;
      mix = fmaf(weight, x.data[(first + i) * x.stride + c], mix);
    }
    out.data[blockIdx.x * out.stride + c] = mix / sum;
  }
}

}  // namespace

cudaError_t hyper_weights(const HyperArgs& args, Matrix m, cudaStream_t stream) {
  if (m.rows == 0) return cudaSuccess;
  const Hyper launch{m, args.base, args.scale, args.n_streams, args.n_iterations, args.eps};
  return CUDA_LAUNCH(weigh_streams, dim3(static_cast<unsigned>(m.rows)), dim3(kWarp), 0, stream, launch);
}

cudaError_t mix_streams(Matrix x, Matrix weights, int64_t width, Matrix out, bool add, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const Mix launch{x, weights, out, width, x.cols / width, out.cols / width, static_cast<int64_t>(add)};
  return CUDA_LAUNCH(mix_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(out.cols), 0, stream, launch);
}

cudaError_t similarity_gate(Matrix x, Matrix y, Matrix out, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(compare_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x, y, out);
}

cudaError_t softmax_pool(Matrix x, Matrix scores, int64_t n, Matrix out, cudaStream_t stream) {
  if (out.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(pool_rows, dim3(static_cast<unsigned>(out.rows)), threads_for(out.cols), 0, stream, x, scores, n,
                     out);
}

}  // namespace steelyard::compute::cuda

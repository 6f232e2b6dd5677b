// Backward passes of routing and of what experts' rows go through. Each sum has one owner, who adds in the order of
// ranks or rows.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

constexpr int kThreads = 128;

// A block per token.
__global__ void __launch_bounds__(kThreads) scatter_rows(Matrix drows, const int32_t* row, int64_t n_used, Matrix dx) {
  for (int64_t c = threadIdx.x; c < dx.cols; c += blockDim.x) {
    float sum = dx.data[blockIdx.x * dx.stride + c];
    for (int64_t slot = blockIdx.x * n_used; slot < (blockIdx.x + 1) * n_used; ++slot)
      sum += drows.data[row[slot] * drows.stride + c];
    dx.data[blockIdx.x * dx.stride + c] = sum;
  }
}

// A block per slot.
__global__ void __launch_bounds__(kThreads)
    combine_backward_slots(Matrix y, const int32_t* row, const float* weight, int64_t n_used, Matrix dout, Matrix dy,
                           float* dweight) {
  const int64_t slot = blockIdx.x, r = row[slot];
  const float* d = dout.data + slot / n_used * dout.stride;
  const float* in = y.data + r * y.stride;
  float* to = dy.data + r * dy.stride;
  const float w = weight[slot];
  float dot = 0;
  for (int64_t c = threadIdx.x; c < y.cols; c += blockDim.x) {
    dot = fmaf(d[c], in[c], dot);
    to[c] = fmaf(w, d[c], to[c]);
  }
  dot = block_sum(dot);
  if (threadIdx.x == 0) dweight[slot] = dot;
}

// A thread per column of an expert.
__global__ void __launch_bounds__(kThreads) sum_expert_rows(Matrix x, const int32_t* row_begin, float* sums) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, expert = blockIdx.y;
  if (c >= x.cols) return;
  double sum = 0;
  for (int64_t r = row_begin[expert]; r < row_begin[expert + 1]; ++r)
    sum += static_cast<double>(x.data[r * x.stride + c]);
  sums[expert * x.cols + c] += static_cast<float>(sum);
}

struct RouteBackward {
  Matrix logits, dlogits;
  int64_t gating, n_used, normalize;
  double scale;
  const int32_t* expert;
  const float* dweight;
};

// A warp per token. A weight is scale p / max(sum of the chosen p, 2^-14), or scale p; p by the gating. With softmax
// over the chosen the sum is 1 whatever the logits, and its gradient nothing.
__global__ void __launch_bounds__(kWarp) route_backward_tokens(RouteBackward args) {
  const float* z = args.logits.data + blockIdx.x * args.logits.stride;
  float* dz = args.dlogits.data + blockIdx.x * args.dlogits.stride;
  const int32_t* expert = args.expert + blockIdx.x * args.n_used;
  const float* dweight = args.dweight + blockIdx.x * args.n_used;
  const int64_t n_expert = args.logits.cols, n_used = args.n_used, lane = threadIdx.x;
  const auto gating = static_cast<Gating>(args.gating);
  const bool softmax = gating == Gating::kSoftmax, over_chosen = gating == Gating::kSoftmaxWeight;
  constexpr float kLeastSum = 0x1p-14f;

  float largest = -__int_as_float(0x7F800000), total = 0;
  const int64_t n = over_chosen ? n_used : n_expert;  // that a softmax goes over
  for (int64_t i = lane; i < n; i += kWarp) largest = fmaxf(largest, z[over_chosen ? expert[i] : i]);
  largest = warp_max(largest);
  for (int64_t i = lane; i < n; i += kWarp) total += expf(z[over_chosen ? expert[i] : i] - largest);
  total = warp_sum(total);
  const auto prob = [&](int64_t e) {
    if (softmax || over_chosen) return expf(z[e] - largest) / total;
    if (gating == Gating::kSigmoid) return sigmoid(z[e]);
    return sqrtf(fmaxf(z[e], 0.0f) + log1pf(expf(-fabsf(z[e]))));
  };

  float sum = 0, mean = 0;
  for (int64_t rank = 0; rank < n_used; ++rank) {
    sum += prob(expert[rank]);
    mean += dweight[rank] * prob(expert[rank]);
  }
  mean /= sum;
  const bool divided = args.normalize != 0 && !over_chosen && sum > kLeastSum;
  const float factor = static_cast<float>(args.scale) / (args.normalize != 0 ? fmaxf(sum, kLeastSum) : 1.0f);
  const auto dprob = [&](int64_t rank) { return factor * (dweight[rank] - (divided ? mean : 0.0f)); };
  float inner = 0;  // of gradients and probabilities, for a softmax
  for (int64_t rank = 0; rank < n_used; ++rank) inner += dprob(rank) * prob(expert[rank]);

  for (int64_t e = lane; e < n_expert && softmax; e += kWarp) dz[e] -= prob(e) * inner;
  __syncwarp();
  for (int64_t rank = lane; rank < n_used; rank += kWarp) {
    const int64_t e = expert[rank];
    const float p = prob(e), d = dprob(rank);
    if (softmax)
      dz[e] += p * d;
    else if (over_chosen)
      dz[e] += p * (d - inner);
    else if (gating == Gating::kSigmoid)
      dz[e] += p * (1.0f - p) * d;
    else if (p > 0)
      dz[e] += sigmoid(z[e]) / (2.0f * p) * d;
  }
}

}  // namespace

cudaError_t gather_backward(Matrix drows, const Routing& routing, Matrix dx, cudaStream_t stream) {
  if (routing.n_tokens == 0) return cudaSuccess;
  return CUDA_LAUNCH(scatter_rows, dim3(static_cast<unsigned>(routing.n_tokens)), dim3(kThreads), 0, stream, drows,
                     routing.row, routing.n_used, dx);
}

cudaError_t combine_backward(Matrix y, const Routing& routing, Matrix dout, Matrix dy, float* dweight,
                             cudaStream_t stream) {
  if (routing.n_slots() == 0) return cudaSuccess;
  return CUDA_LAUNCH(combine_backward_slots, dim3(static_cast<unsigned>(routing.n_slots())), dim3(kThreads), 0, stream,
                     y, routing.row, routing.weight, routing.n_used, dout, dy, dweight);
}

cudaError_t sum_rows_experts(Matrix x, const Routing& routing, float* sums, cudaStream_t stream) {
  const dim3 grid(blocks_for(x.cols, kThreads), static_cast<unsigned>(routing.n_expert));
  return CUDA_LAUNCH(sum_expert_rows, grid, dim3(kThreads), 0, stream, x, routing.row_begin, sums);
}

cudaError_t route_backward(Matrix logits, const RouteArgs& args, const Routing& routing, const float* dweight,
                           Matrix dlogits, cudaStream_t stream) {
  if (logits.rows == 0) return cudaSuccess;
  const RouteBackward launch{logits,
                             dlogits,
                             static_cast<int64_t>(args.gating),
                             args.n_used,
                             static_cast<int64_t>(args.normalize),
                             args.scale,
                             routing.expert,
                             dweight};
  return CUDA_LAUNCH(route_backward_tokens, dim3(static_cast<unsigned>(logits.rows)), dim3(kWarp), 0, stream, launch);
}

}  // namespace steelyard::compute::cuda

// Routing of tokens to experts, and operations on rows in expert order.
#include "compute/cuda/device.h"
#include "compute/cuda/operations.h"

namespace steelyard::compute::cuda {
namespace {

constexpr unsigned kThreads = 128;

struct RouteLaunch {
  Matrix logits;
  int64_t gating;
  const float* bias;
  int64_t n_used, n_group, n_group_used, normalize;
  double scale;
  const int32_t* chosen;
  int32_t* expert;
  float* weight;
};

// The largest of the lanes' values, the lowest index among equals. Lanes without a candidate give index -1.
struct Best {
  float value;
  int index;
};
__device__ Best best_of_warp(Best best) {
  CUDA_UNROLL
  for (int o = kWarp / 2; o > 0; o /= 2) {
    const float value = __shfl_xor_sync(kFullMask, best.value, o);
    const int index = __shfl_xor_sync(kFullMask, best.index, o);
    const bool better =
        index >= 0 && (best.index < 0 || value > best.value || (value == best.value && index < best.index));
    if (better) best = {value, index};
  }
  return best;
}

__device__ float gate(float z, Gating gating) {
  if (gating == Gating::kSigmoid) return 1.0f / (1.0f + expf(-z));
  if (gating == Gating::kSqrtSoftplus) return sqrtf(fmaxf(z, 0.0f) + log1pf(expf(-fabsf(z))));
  return z;
}

// A lane per group: its score is the sum of its two best; a group is out when n_group_used others beat it.
__device__ void exclude_groups(const RouteLaunch& args, int n_expert, float* score, float* group_score) {
  const int lane = static_cast<int>(threadIdx.x), n_group = static_cast<int>(args.n_group), size = n_expert / n_group;
  const float infinity = __int_as_float(0x7F800000);
  for (int g = lane; g < n_group; g += kWarp) {
    float best = -infinity, second = -infinity;
    for (int i = 0; i < size; ++i) {
      const float s = score[g * size + i];
      second = s > best ? best : fmaxf(second, s);
      best = fmaxf(best, s);
    }
    group_score[g] = size > 1 ? best + second : best;
  }
  __syncwarp();
  for (int g = lane; g < n_group; g += kWarp) {
    int rank = 0;
    for (int other = 0; other < n_group; ++other) {
      rank += group_score[other] > group_score[g] || (group_score[other] == group_score[g] && other < g);
    }
    for (int i = 0; i < size && rank >= args.n_group_used; ++i) score[g * size + i] = -infinity;
  }
  __syncwarp();
}

// A warp per token. Shared memory: probabilities, scores, scores of groups, n_expert each.
__global__ void __launch_bounds__(kWarp) choose_experts(RouteLaunch args) {
  CUDA_DYNAMIC_SHARED(float, probs);
  const int n_expert = static_cast<int>(args.logits.cols), lane = static_cast<int>(threadIdx.x);
  float *score = probs + n_expert, *group_score = score + n_expert;
  const auto gating = static_cast<Gating>(args.gating);
  const float* logits = args.logits.data + blockIdx.x * args.logits.stride;
  const float infinity = __int_as_float(0x7F800000);

  float largest = -infinity, total = 0;
  for (int e = lane; e < n_expert; e += kWarp) largest = fmaxf(largest, logits[e]);
  largest = warp_max(largest);
  for (int e = lane; e < n_expert; e += kWarp) {
    probs[e] = gating == Gating::kSoftmax ? expf(logits[e] - largest) : gate(logits[e], gating);
    total += probs[e];
  }
  total = warp_sum(total);
  for (int e = lane; e < n_expert; e += kWarp) {
    if (gating == Gating::kSoftmax) probs[e] /= total;
    score[e] = probs[e] + (args.bias != nullptr ? args.bias[e] : 0.0f);
  }
  __syncwarp();
  if (args.n_group > 1) exclude_groups(args, n_expert, score, group_score);

  int32_t* expert = args.expert + blockIdx.x * args.n_used;
  float* weight = args.weight + blockIdx.x * args.n_used;
  float sum = 0, largest_chosen = -infinity;
  for (int64_t rank = 0; rank < args.n_used; ++rank) {
    Best best{-infinity, -1};
    if (args.chosen != nullptr) {
      best.index = args.chosen[blockIdx.x * args.n_used + rank];
    } else {
      for (int e = lane; e < n_expert; e += kWarp) {
        if (best.index < 0 || score[e] > best.value) best = {score[e], e};
      }
      best = best_of_warp(best);
    }
    const float prob = probs[best.index];
    sum += prob;
    largest_chosen = fmaxf(largest_chosen, prob);
    __syncwarp();
    if (lane == 0) {
      expert[rank] = best.index;
      weight[rank] = prob;
      score[best.index] = -infinity;
    }
    __syncwarp();
  }
  if (gating == Gating::kSoftmaxWeight) {
    sum = 0;
    for (int64_t rank = 0; rank < args.n_used; ++rank) sum += expf(weight[rank] - largest_chosen);
  }
  __syncwarp();
  for (int64_t rank = lane; rank < args.n_used; rank += kWarp) {
    float w = weight[rank];
    if (gating == Gating::kSoftmaxWeight) w = expf(w - largest_chosen) / sum;
    if (args.normalize != 0) w /= gating == Gating::kSoftmaxWeight ? 1.0f : fmaxf(sum, 0x1p-14f);
    weight[rank] = w * static_cast<float>(args.scale);
  }
}

struct SortLaunch {
  int64_t n_slots, n_used, n_expert;
  const int32_t* expert;
  int32_t *row, *token, *row_begin;
};

// A warp per expert, and one more for the end. It counts the slots of the experts before its own, which gives the first
// of its rows, and then assigns rows to its own slots in order.
__global__ void __launch_bounds__(kWarp) sort_slots(SortLaunch args) {
  const int lane = static_cast<int>(threadIdx.x), own = static_cast<int>(blockIdx.x);
  int before = 0;
  for (int64_t s = lane; s < args.n_slots; s += kWarp) before += args.expert[s] < own;
  CUDA_UNROLL
  for (int o = kWarp / 2; o > 0; o /= 2) before += __shfl_xor_sync(kFullMask, before, o);
  if (lane == 0) args.row_begin[own] = before;
  if (own == args.n_expert) return;
  for (int64_t first = 0; first < args.n_slots; first += kWarp) {
    const int64_t s = first + lane;
    const bool mine = s < args.n_slots && args.expert[s] == own;
    const unsigned all = __ballot_sync(kFullMask, mine);
    if (mine) {
      const int row = before + __popc(all & ((1u << lane) - 1));
      args.row[s] = row;
      args.token[row] = static_cast<int32_t>(s / args.n_used);
    }
    before += __popc(all);
  }
}

// A block per row and expert's slot: rows of an expert are found by its number in y's row order.
__global__ void __launch_bounds__(kThreads) add_expert_rows(Matrix y, const float* rows, const int32_t* row_begin) {
  const float* own = rows + blockIdx.x * y.cols;
  for (int r = row_begin[blockIdx.x] + static_cast<int>(blockIdx.y); r < row_begin[blockIdx.x + 1];
       r += static_cast<int>(gridDim.y)) {
    for (int64_t c = threadIdx.x; c < y.cols; c += blockDim.x) y.data[r * y.stride + c] += own[c];
  }
}

__global__ void __launch_bounds__(kThreads) gather_rows(Matrix x, const int32_t* token, Matrix out) {
  const float* from = x.data + token[blockIdx.x] * x.stride;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) out.data[blockIdx.x * out.stride + c] = from[c];
}

__global__ void __launch_bounds__(kThreads)
    combine_rows(Matrix y, const int32_t* row, const float* weight, int64_t n_used, Matrix out) {
  for (int64_t c = threadIdx.x; c < out.cols; c += blockDim.x) {
    float sum = 0;
    for (int64_t slot = blockIdx.x * n_used; slot < (blockIdx.x + 1) * n_used; ++slot) {
      sum = fmaf(weight[slot], y.data[row[slot] * y.stride + c], sum);
    }
    out.data[blockIdx.x * out.stride + c] = sum;
  }
}

}  // namespace

size_t route_shared(int64_t n_expert) { return static_cast<size_t>(3 * n_expert) * sizeof(float); }

cudaError_t route(Matrix logits, const RouteArgs& args, const Routing& routing, cudaStream_t stream) {
  if (logits.rows == 0) return cudaMemsetAsync(routing.row_begin, 0, sizeof(int32_t) * (routing.n_expert + 1), stream);
  const RouteLaunch choose{logits,
                           static_cast<int64_t>(args.gating),
                           args.bias,
                           args.n_used,
                           args.n_group,
                           args.n_group_used,
                           static_cast<int64_t>(args.normalize),
                           args.scale,
                           args.chosen,
                           routing.expert,
                           routing.weight};
  const cudaError_t error = CUDA_LAUNCH(choose_experts, dim3(static_cast<unsigned>(logits.rows)), dim3(kWarp),
                                        route_shared(logits.cols), stream, choose);
  if (error != cudaSuccess) return error;
  const SortLaunch sort{routing.n_slots(), routing.n_used, routing.n_expert, routing.expert,
                        routing.row,       routing.token,  routing.row_begin};
  return CUDA_LAUNCH(sort_slots, dim3(static_cast<unsigned>(routing.n_expert + 1)), dim3(kWarp), 0, stream, sort);
}

cudaError_t add_row_experts(Matrix y, const float* rows, const Routing& routing, cudaStream_t stream) {
  if (y.rows == 0) return cudaSuccess;
  const int64_t blocks_each = y.rows / routing.n_expert + 1;
  const dim3 grid(static_cast<unsigned>(routing.n_expert), static_cast<unsigned>(blocks_each));
  return CUDA_LAUNCH(add_expert_rows, grid, dim3(kThreads), 0, stream, y, rows, routing.row_begin);
}

cudaError_t gather(Matrix x, const Routing& routing, Matrix out, cudaStream_t stream) {
  if (routing.n_slots() == 0) return cudaSuccess;
  return CUDA_LAUNCH(gather_rows, dim3(static_cast<unsigned>(routing.n_slots())), dim3(kThreads), 0, stream, x,
                     routing.token, out);
}

cudaError_t combine(Matrix y, const Routing& routing, Matrix out, cudaStream_t stream) {
  if (routing.n_tokens == 0) return cudaSuccess;
  return CUDA_LAUNCH(combine_rows, dim3(static_cast<unsigned>(routing.n_tokens)), dim3(kThreads), 0, stream, y,
                     routing.row, routing.weight, routing.n_used, out);
}

}  // namespace steelyard::compute::cuda

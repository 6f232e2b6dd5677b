// What a query sees of the past: the scores of an indexer, and the choice of the best.
#include "compute/cuda/cache.cuh"
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

constexpr int kWarps = 4, kThreads = kWarps * kWarp;
constexpr int64_t kTokensOfBlock = 64;

struct Index {
  Matrix q, weights, scores;
  CachedRows k;
  int64_t width;
};

// A block per key and some tokens. The key is decoded once, then each warp takes some of the tokens.
__global__ void __launch_bounds__(kThreads) score_keys(Index args) {
  CUDA_DYNAMIC_SHARED(float, key);  // the width in whole groups
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t n_groups = (args.width + formats::kGroupLen - 1) / formats::kGroupLen;
  for (int64_t group = threadIdx.x; group < n_groups; group += kThreads) {
    for_type(CacheTypes(), static_cast<formats::Type>(args.k.type), [&]<class F>() {
      decode_group<F>(args.k.head(blockIdx.x, 0), group, args.width, key + group * formats::kGroupLen);
    });
  }
  __syncthreads();
  const int64_t first = blockIdx.y * kTokensOfBlock, rest = args.q.rows - first;
  for (int64_t i = warp; i < kTokensOfBlock && i < rest; i += kWarps) {
    const int64_t t = first + i;
    float score = 0;
    for (int64_t h = 0; h < args.weights.cols; ++h) {
      const float* q = args.q.data + t * args.q.stride + h * args.width;
      float dot = 0;
      for (int64_t c = lane; c < args.width; c += kWarp) dot = fmaf(q[c], key[c], dot);
      score = fmaf(args.weights.data[t * args.weights.stride + h], fmaxf(warp_sum(dot), 0.0f), score);
    }
    if (lane == 0) args.scores.data[t * args.scores.stride + blockIdx.x] = score;
  }
}

struct Select {
  Matrix scores, visible;
  int64_t first_position, block, n_best, positions;
};

// A number that is larger for a larger score.
__device__ unsigned rank_of(float score) {
  const unsigned bits = __float_as_uint(score == 0 ? 0.0f : score);  // both zeros are equal
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// A warp per token. The n-th largest rank is found bit by bit; of equal ones, the first are chosen.
__global__ void __launch_bounds__(kWarp) choose_visible(Select args) {
  const int64_t lane = threadIdx.x, n_seen = args.first_position + blockIdx.x + 1;
  const int64_t whole = n_seen / args.block, n = whole < args.scores.cols ? whole : args.scores.cols;
  const int64_t n_best = args.n_best < n ? args.n_best : n, width = args.positions != 0 ? args.block : 1;
  const float* scores = args.scores.data + blockIdx.x * args.scores.stride;
  float* visible = args.visible.data + blockIdx.x * args.visible.stride;
  // Entries from `least` on.
  const auto count = [&](unsigned least) {
    int64_t found = 0;
    for (int64_t b = lane; b < n; b += kWarp) found += rank_of(scores[b]) >= least;
    int sum = static_cast<int>(found);
    CUDA_UNROLL
    for (int o = kWarp / 2; o > 0; o /= 2) sum += __shfl_xor_sync(kFullMask, sum, o);
    return static_cast<int64_t>(sum);
  };
  unsigned last = 0;  // the rank of the last that is chosen
  for (unsigned bit = 0x80000000u; bit != 0; bit >>= 1) {
    if (count(last | bit) >= n_best) last |= bit;
  }
  // How many of those with just this rank are chosen.
  int64_t left = n_best - (last == 0xFFFFFFFFu ? 0 : count(last + 1));
  for (int64_t first = 0; first < n; first += kWarp) {
    const int64_t b = first + lane;
    const unsigned rank = b < n ? rank_of(scores[b]) : 0;
    const bool equal = b < n && rank == last;
    const unsigned all = __ballot_sync(kFullMask, equal);
    const bool chosen = equal ? __popc(all & ((1u << lane) - 1)) < left : rank > last;
    left -= __popc(all);
    if (b < n) {
      for (int64_t c = b * width; c < (b + 1) * width; ++c) visible[c] = chosen ? 1.0f : 0.0f;
    }
  }
  for (int64_t c = n * width + lane; c < args.visible.cols; c += kWarp) {
    const bool tail = args.positions != 0 && c >= whole * args.block && c < n_seen;
    visible[c] = tail ? 1.0f : 0.0f;
  }
}

}  // namespace

cudaError_t index_scores(Matrix q, Matrix weights, const TypedRows& k, Matrix scores, cudaStream_t stream) {
  if (q.rows == 0 || k.rows == 0) return cudaSuccess;
  const Index launch{q, weights, scores, cached_rows(k, k.cols), k.cols};
  const dim3 grid(static_cast<unsigned>(k.rows), blocks_for(q.rows, kTokensOfBlock));
  const auto groups = static_cast<size_t>(blocks_for(k.cols, formats::kGroupLen));
  return CUDA_LAUNCH(score_keys, grid, dim3(kThreads), groups * formats::kGroupLen * sizeof(float), stream, launch);
}

cudaError_t select(const SelectArgs& args, Matrix scores, Matrix visible, cudaStream_t stream) {
  if (scores.rows == 0) return cudaSuccess;
  const Select launch{scores,     visible,     args.first_position,
                      args.block, args.n_best, static_cast<int64_t>(args.positions)};
  return CUDA_LAUNCH(choose_visible, dim3(static_cast<unsigned>(scores.rows)), dim3(kWarp), 0, stream, launch);
}

}  // namespace steelyard::compute::cuda

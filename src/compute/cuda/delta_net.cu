// The operations of gated delta net layers.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarp;

struct Convolution {
  Matrix x, out;
  const float *taps, *bias, *state;
  int64_t n_taps, dilation, n_past, silu;
};

// A thread per token and column.
__global__ void __launch_bounds__(kThreads) convolve(Convolution args) {
  const int64_t t = blockIdx.x, n_past = args.n_past;
  const Matrix x = args.x;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) {
    float sum = args.bias != nullptr ? args.bias[c] : 0.0f;
    for (int64_t i = 0; i < args.n_taps; ++i) {
      const int64_t at = t - n_past + i * args.dilation;  // of x; before it: of the state
      const float value = at >= 0 ? x.data[at * x.stride + c] : args.state[(at + n_past) * x.cols + c];
      sum = fmaf(args.taps[i * x.cols + c], value, sum);
    }
    args.out.data[t * args.out.stride + c] = args.silu != 0 ? sum * sigmoid(sum) : sum;
  }
}

// A thread per column moves its inputs up, the oldest first, so that only values that were read are overwritten.
__global__ void __launch_bounds__(kThreads) remember_inputs(Matrix x, int64_t n_past, float* state) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= x.cols) return;
  for (int64_t i = 0; i < n_past; ++i) {
    const int64_t at = x.rows - n_past + i;
    state[i * x.cols + c] = at >= 0 ? x.data[at * x.stride + c] : state[(at + n_past) * x.cols + c];
  }
}

struct RuleArgs {
  Matrix q, k, v, beta, alpha, out;
  const float *decay, *dt;
  int64_t n_head, n_head_k, head, tiled, by_channel;
  double eps, bound;
  float* state;  // [n_head, head of the key, head of the value]
};

// A block keeps 32 columns of a head's state in shared memory, each warp some of its rows, and takes the tokens in
// turn.
__global__ void __launch_bounds__(kThreads) apply_rule(RuleArgs args) {
  CUDA_DYNAMIC_SHARED(float, memory);
  CUDA_SHARED(partial, float[kWarps][kWarp]);
  CUDA_SHARED(squares, float[2][kWarps]);
  const int t = static_cast<int>(threadIdx.x), lane = t % kWarp, warp = t / kWarp, d = static_cast<int>(args.head);
  float* state = memory;          // [d, 32]
  float* q = memory + d * kWarp;  // [d]
  float* k = q + d;               // [d]
  float* decays = k + d;          // [d], of the state's rows
  const int64_t h = blockIdx.y, column = static_cast<int64_t>(blockIdx.x) * kWarp + lane;
  const int64_t key_head = args.tiled != 0 ? h % args.n_head_k : h / (args.n_head / args.n_head_k);
  const bool inside = column < d;
  float* own = args.state + h * d * d + column;
  for (int i = warp; i < d; i += kWarps) state[i * kWarp + lane] = inside ? own[i * d] : 0.0f;

  // Of the block's warps, the sum of a value per thread of one warp each.
  const auto over_warps = [&](float value) {
    __syncthreads();
    partial[warp][lane] = value;
    __syncthreads();
    float sum = 0;
    CUDA_UNROLL
    for (int w = 0; w < kWarps; ++w) sum += partial[w][lane];
    return sum;
  };
  for (int64_t token = 0; token < args.out.rows; ++token) {
    __syncthreads();  // the last token's q, k and decays were read
    float qq = 0, kk = 0;
    for (int i = t; i < d; i += kThreads) {
      q[i] = args.q.data[token * args.q.stride + key_head * d + i];
      k[i] = args.k.data[token * args.k.stride + key_head * d + i];
      const int64_t channel = args.by_channel != 0 ? h * d + i : h;
      const float z = args.alpha.data[token * args.alpha.stride + channel] + args.dt[channel];
      const auto bound = static_cast<float>(args.bound);
      decays[i] = expf(bound < 0 ? bound * sigmoid(-args.decay[h] * z) : args.decay[h] * softplus(z));
      qq = fmaf(q[i], q[i], qq);
      kk = fmaf(k[i], k[i], kk);
    }
    qq = warp_sum(qq);
    kk = warp_sum(kk);
    if (lane == 0) {
      squares[0][warp] = qq;
      squares[1][warp] = kk;
    }
    __syncthreads();
    qq = kk = static_cast<float>(args.eps);
    CUDA_UNROLL
    for (int w = 0; w < kWarps; ++w) {
      qq += squares[0][w];
      kk += squares[1][w];
    }
    const float q_factor = 1.0f / (sqrtf(qq) * sqrtf(static_cast<float>(d))), k_factor = 1.0f / sqrtf(kk);
    const float beta = sigmoid(args.beta.data[token * args.beta.stride + h]);

    float recalled = 0;
    for (int i = warp; i < d; i += kWarps) {
      float& s = state[i * kWarp + lane];
      s *= decays[i];
      recalled = fmaf(s, k[i] * k_factor, recalled);
    }
    recalled = over_warps(recalled);
    const float value = inside ? args.v.data[token * args.v.stride + h * d + column] : 0.0f;
    const float correction = beta * (value - recalled);
    float answer = 0;
    for (int i = warp; i < d; i += kWarps) {
      float& s = state[i * kWarp + lane];
      s = fmaf(k[i] * k_factor, correction, s);
      answer = fmaf(s, q[i] * q_factor, answer);
    }
    answer = over_warps(answer);
    if (inside && warp == 0) args.out.data[token * args.out.stride + h * d + column] = answer;
  }
  for (int i = warp; i < d; i += kWarps) {
    if (inside) own[i * d] = state[i * kWarp + lane];
  }
}

}  // namespace

cudaError_t causal_conv(const ConvArgs& args, Matrix x, float* state, Matrix out, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const Convolution launch{
      x, out, args.taps, args.bias, state, args.n_taps, args.dilation, args.n_past(), static_cast<int64_t>(args.silu)};
  const cudaError_t error =
      CUDA_LAUNCH(convolve, dim3(static_cast<unsigned>(x.rows)), dim3(kThreads), 0, stream, launch);
  if (error != cudaSuccess) return error;
  return CUDA_LAUNCH(remember_inputs, dim3(blocks_for(x.cols, kThreads)), dim3(kThreads), 0, stream, x, args.n_past(),
                     state);
}

size_t delta_rule_shared(int64_t head) { return static_cast<size_t>(head * (kWarp + 3)) * sizeof(float); }

cudaError_t delta_rule(const DeltaRuleArgs& args, float* state, Matrix out, cudaStream_t stream) {
  if (out.rows == 0) return cudaSuccess;
  const RuleArgs launch{args.q,
                        args.k,
                        args.v,
                        args.beta,
                        args.alpha,
                        out,
                        args.decay,
                        args.dt,
                        args.n_head,
                        args.n_head_k,
                        args.head,
                        static_cast<int64_t>(args.tiled),
                        static_cast<int64_t>(args.by_channel()),
                        args.eps,
                        args.bound,
                        state};
  const dim3 grid(static_cast<unsigned>((args.head + kWarp - 1) / kWarp), static_cast<unsigned>(args.n_head));
  return CUDA_LAUNCH(apply_rule, grid, dim3(kThreads), delta_rule_shared(args.head), stream, launch);
}

}  // namespace steelyard::compute::cuda

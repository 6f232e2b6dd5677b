// Attention's backward pass: probabilities are computed again, for some heads and queries and all of their keys at a
// time, then everything is products of matrices. Heads that share keys and values are added in their order.
#include <algorithm>

#include "compute/cuda/backward_attention.h"
#include "compute/cuda/rows.cuh"
#include "compute/cuda/tile_sums.cuh"

namespace steelyard::compute::cuda {
namespace {

// What products of heads sum over, and with it what can be left out because no query looks there.
enum class Over {
  kColumns,  // results: queries by keys
  kKeys,     // queries by columns
  kQueries,  // keys by columns
};

// A matrix per head, or per so many heads.
struct HeadSide {
  TileSide first;
  int64_t head_step, heads_each;

  __device__ TileSide of(int64_t head) const {
    return {first.data + head / heads_each * head_step, first.depth_step, first.step, first.n};
  }
};

struct HeadProducts {
  HeadSide left, right;
  int64_t depth;
  float* out;  // of so many heads together
  int64_t out_step, out_stride, heads_of_out;
  int64_t first_position, window;

  // Keys that query t sees: [first_key, t's position].
  __device__ int64_t first_key(int64_t t) const {
    const int64_t seen = first_position + t + 1;
    return window > 0 && seen > window ? seen - window : 0;
  }
};

__device__ int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A block per tile of a result; z: results.
template <Over kOver>
__global__ void __launch_bounds__(kSumThreads, kSumBlocks) add_head_products(HeadProducts args) {
  const int64_t a0 = static_cast<int64_t>(blockIdx.y) * kSumTile, b0 = static_cast<int64_t>(blockIdx.x) * kSumTile;
  const int64_t n_a = args.left.first.n, n_b = args.right.first.n;
  const int64_t last_a = least(a0 + kSumTile, n_a) - 1, last_b = least(b0 + kSumTile, n_b) - 1;
  int64_t begin = 0, end = args.depth;
  if constexpr (kOver == Over::kColumns) {
    if (b0 > args.first_position + last_a || last_b < args.first_key(a0)) return;
  } else if constexpr (kOver == Over::kKeys) {
    begin = args.first_key(a0);
    end = args.first_position + last_a + 1;
  } else {
    if (a0 > args.first_position) begin = a0 - args.first_position;
    if (args.window > 0) end = least(end, last_a + args.window - args.first_position);
  }
  TileSums sums;
  for (int64_t h = blockIdx.z * args.heads_of_out; h < (blockIdx.z + 1) * args.heads_of_out; ++h)
    sums.add(args.left.of(h).from(a0), args.right.of(h).from(b0), begin, end);
  sums.store(args.out + blockIdx.z * args.out_step + a0 * args.out_stride + b0, args.out_stride, n_a - a0, n_b - b0,
             kOver != Over::kColumns);
}

struct SoftmaxLaunch {
  float *p, *dp;  // [heads, queries, n_keys]
  int64_t n_keys, first_position, window;
  double scale, softcap;
  const float* sinks;  // of these heads, or null
  float* dsinks;       // [heads, queries]: minus their gradients, or null
};

// A block per query and head: products of queries and keys become probabilities, and gradients of probabilities those
// of the products. Zeros where the query does not look.
__global__ void __launch_bounds__(kMaxThreads) soften_rows(SoftmaxLaunch args) {
  const int64_t row = static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x;
  float *p = args.p + row * args.n_keys, *dp = args.dp + row * args.n_keys;
  const int64_t end = args.first_position + blockIdx.x + 1;
  const int64_t begin = args.window > 0 && end > args.window ? end - args.window : 0;
  const auto scale = static_cast<float>(args.scale), cap = static_cast<float>(args.softcap);
  const auto score = [&](int64_t s) { return cap > 0 ? cap * tanhf(p[s] * scale / cap) : p[s] * scale; };
  const auto sees = [&](int64_t s) { return s >= begin && s < end; };
  float largest = args.sinks != nullptr ? args.sinks[blockIdx.y] : -__int_as_float(0x7F800000);
  for (int64_t s = begin + threadIdx.x; s < end; s += blockDim.x) largest = fmaxf(largest, score(s));
  largest = block_max(largest);
  float sum = 0, mean = 0;  // of dp under p; a sink has no value
  for (int64_t s = begin + threadIdx.x; s < end; s += blockDim.x) {
    p[s] = expf(score(s) - largest);
    sum += p[s];
    mean = fmaf(p[s], dp[s], mean);
  }
  const float sink = args.sinks != nullptr ? expf(args.sinks[blockIdx.y] - largest) : 0.0f;
  sum = block_sum(sum) + sink;
  mean = block_sum(mean) / sum;
  for (int64_t s = threadIdx.x; s < args.n_keys; s += blockDim.x) {
    const float probability = sees(s) ? p[s] / sum : 0.0f;
    // Of a capped score; where nothing of a key is seen, its slope does not matter.
    const float tanh = cap > 0 && probability > 0 ? (logf(p[s]) + largest) / cap : 0.0f;
    p[s] = probability;
    dp[s] = sees(s) ? probability * (dp[s] - mean) * scale * (1.0f - tanh * tanh) : 0.0f;
  }
  if (threadIdx.x == 0 && args.dsinks != nullptr) args.dsinks[row] = sink / sum * mean;
}

// A warp per head.
__global__ void __launch_bounds__(kWarp) subtract_rows(const float* rows, int64_t n, float* sums) {
  float sum = 0;
  for (int64_t t = threadIdx.x; t < n; t += kWarp) sum += rows[blockIdx.x * n + t];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] -= sum;
}

template <Over kOver>
cudaError_t launch(const HeadProducts& args, int64_t n_results, cudaStream_t stream) {
  const dim3 grid(blocks_for(args.right.first.n, kSumTile), blocks_for(args.left.first.n, kSumTile),
                  static_cast<unsigned>(n_results));
  return CUDA_LAUNCH((add_head_products<kOver>), grid, dim3(kSumThreads), 0, stream, args);
}

}  // namespace

AttentionPart::AttentionPart(const AttentionGradient& at, int64_t most)
    : n_group(at.args.n_head / at.args.n_head_kv), n_keys(at.args.first_position + at.args.q.rows) {
  const auto fitting = [&](int64_t size, int64_t n) { return std::clamp<int64_t>(most / size, 1, n); };
  n_heads_kv = fitting(std::min<int64_t>(kSumTile, at.args.q.rows) * n_group * n_keys, at.args.n_head_kv);
  n_queries = fitting(n_heads_kv * n_group * n_keys, at.args.q.rows);
}

cudaError_t attention_backward(const AttentionGradient& at, const AttentionPart& part, float* p, float* dp,
                               float* dsinks, cudaStream_t stream) {
  const AttentionArgs& args = at.args;
  const int64_t n_group = part.n_group, n_keys = part.n_keys, head_k = args.head_k, head_v = args.head_v;
  const int64_t n_kv = std::min(part.n_heads_kv, args.n_head_kv - part.head_kv), n_heads = n_kv * n_group;
  const int64_t n = std::min(part.n_queries, args.q.rows - part.query), head = part.head_kv * n_group;
  const auto rows = [&](Matrix all, int64_t width) {
    return all.slice(part.query, n).columns(head * width, n_heads * width);
  };
  const auto keys = [&](Matrix all, int64_t width) { return all.columns(part.head_kv * width, n_kv * width); };
  const auto floats = [](const TypedRows& typed) {
    return Matrix{reinterpret_cast<float*>(typed.data), typed.rows, typed.cols,
                  typed.stride / static_cast<int64_t>(sizeof(float))};
  };
  const Matrix q = rows(args.q, head_k), dq = rows(at.dq, head_k), dout = rows(at.dout, head_v);
  const Matrix k = keys(floats(args.k), head_k), v = keys(floats(args.v), head_v);
  const Matrix dk = keys(at.dk, head_k), dv = keys(at.dv, head_v);
  const int64_t first_position = args.first_position + part.query, n_seen = first_position + n;

  // Sides by what they are summed over.
  const auto columns_of = [](Matrix m, int64_t n_rows, int64_t width, int64_t heads_each) {
    return HeadSide{{m.data, 1, m.stride, n_rows}, width, heads_each};
  };
  const auto rows_of = [](Matrix m, int64_t width, int64_t heads_each) {
    return HeadSide{{m.data, m.stride, 1, width}, width, heads_each};
  };
  const auto scores = [&](Matrix left, Matrix right, int64_t width, float* out) {
    return HeadProducts{.left = columns_of(left, n, width, 1),
                        .right = columns_of(right, n_seen, width, n_group),
                        .depth = width,
                        .out = out,
                        .out_step = n * n_keys,
                        .out_stride = n_keys,
                        .heads_of_out = 1,
                        .first_position = first_position,
                        .window = args.window};
  };
  const auto of_keys = [&](float* products, Matrix right, int64_t width, Matrix out) {
    return HeadProducts{.left = {{products, n_keys, 1, n_seen}, n * n_keys, 1},
                        .right = rows_of(right, width, 1),
                        .depth = n,
                        .out = out.data,
                        .out_step = width,
                        .out_stride = out.stride,
                        .heads_of_out = n_group,
                        .first_position = first_position,
                        .window = args.window};
  };
  const HeadProducts of_queries{.left = {{dp, 1, n_keys, n}, n * n_keys, 1},
                                .right = rows_of(k, head_k, n_group),
                                .depth = n_seen,
                                .out = dq.data,
                                .out_step = head_k,
                                .out_stride = dq.stride,
                                .heads_of_out = 1,
                                .first_position = first_position,
                                .window = args.window};
  const bool sinks = at.dsinks != nullptr && args.sinks != nullptr;
  const SoftmaxLaunch softmax{p,
                              dp,
                              n_keys,
                              first_position,
                              args.window,
                              args.scale,
                              args.softcap,
                              args.sinks != nullptr ? args.sinks + head : nullptr,
                              sinks ? dsinks : nullptr};
  const auto soften = [&] {
    return CUDA_LAUNCH(soften_rows, dim3(static_cast<unsigned>(n), static_cast<unsigned>(n_heads)), threads_for(n_keys),
                       0, stream, softmax);
  };
  const auto add_sinks = [&] {
    return CUDA_LAUNCH(subtract_rows, dim3(static_cast<unsigned>(n_heads)), dim3(kWarp), 0, stream, dsinks, n,
                       at.dsinks + head);
  };
  cudaError_t error = launch<Over::kColumns>(scores(q, k, head_k, p), n_heads, stream);
  if (error == cudaSuccess) error = launch<Over::kColumns>(scores(dout, v, head_v, dp), n_heads, stream);
  if (error == cudaSuccess) error = soften();
  if (error == cudaSuccess && sinks) error = add_sinks();
  if (error == cudaSuccess) error = launch<Over::kKeys>(of_queries, n_heads, stream);
  if (error == cudaSuccess) error = launch<Over::kQueries>(of_keys(dp, q, head_k, dk), n_kv, stream);
  if (error == cudaSuccess) error = launch<Over::kQueries>(of_keys(p, dout, head_v, dv), n_kv, stream);
  return error;
}

}  // namespace steelyard::compute::cuda

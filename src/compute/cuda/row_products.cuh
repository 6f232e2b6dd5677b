// Products with few rows of x: a warp per weight row and row of x, straight from the blocks, as fast as memory. Lanes
// take groups of 16 weights in turn.
#pragma once

#include <cstring>

#include "compute/cuda/tiles.cuh"

namespace steelyard::compute::cuda {

inline constexpr int kRowsOfBlock = 4;  // warps

/// F32 activations.
template <class F>
__global__ void __launch_bounds__(kRowsOfBlock* kWarp) multiply_rows(ProductArgs args) {
  const Tile tile = find_tile(args, static_cast<int>(blockIdx.y), 1);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t o = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarp;
  if (tile.n <= 0 || o >= args.n_out) return;
  const std::byte* row = args.weights + tile.slice * args.slice_bytes + o * args.row_bytes;
  const int64_t batch = args.row_begin == nullptr ? tile.slice : 0;
  const float* x = args.x + tile.first * args.x_stride + batch * args.x_step;
  float sum = 0;
  if constexpr (formats::Grouped<F>) {
    for (int64_t g = lane; g < args.n_in / formats::kGroupLen; g += kWarp) {
      formats::Group group;
      load_group<F>(row, g, group);
      float dot = 0, total = 0;
      CUDA_UNROLL
      for (int i = 0; i < formats::kGroupLen; ++i) {
        const float value = x[g * formats::kGroupLen + i];
        dot = fmaf(group.q[i], value, dot);
        total += value;
      }
      sum = fmaf(group.scale, dot, sum);
      sum = fmaf(-group.min, total, sum);
    }
  } else {
    for (int64_t i = lane; i < args.n_in; i += kWarp) sum = fmaf(value_of(block_at<F>(row, i)), x[i], sum);
  }
  sum = warp_sum(sum);
  if (lane == 0) args.out[tile.first * args.out_stride + batch * args.out_step + o] = sum;
}

/// Activations in codes.
template <class F>
__global__ void __launch_bounds__(kRowsOfBlock* kWarp) multiply_coded_rows(ProductArgs args) {
  const Tile tile = find_tile(args, static_cast<int>(blockIdx.y), 1);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t o = static_cast<int64_t>(blockIdx.x) * kRowsOfBlock + threadIdx.x / kWarp;
  if (tile.n <= 0 || o >= args.n_out) return;
  const std::byte* row = args.weights + tile.slice * args.slice_bytes + o * args.row_bytes;
  const auto* codes = reinterpret_cast<const int4*>(args.input.codes + tile.input_row * args.input.width);
  const float* scales = args.input.scales + tile.input_row * (args.input.width / formats::kGroupLen);
  const float* sums = args.input.sums + tile.input_row * (args.input.width / formats::kGroupLen);
  float sum = 0;
  for (int64_t g = lane; g < args.n_in / formats::kGroupLen; g += kWarp) {
    formats::Group group;
    load_group<F>(row, g, group);
    int4 q;
    memcpy(&q, group.q, sizeof(q));
    const int4 x = codes[g];
    const int dot = __dp4a(q.x, x.x, __dp4a(q.y, x.y, __dp4a(q.z, x.z, __dp4a(q.w, x.w, 0))));
    sum = fmaf(group.scale * scales[g], static_cast<float>(dot), sum);
    sum = fmaf(-group.min, sums[g], sum);
  }
  sum = warp_sum(sum);
  const int64_t batch = args.row_begin == nullptr ? tile.slice : 0;
  if (lane == 0) args.out[tile.first * args.out_stride + batch * args.out_step + o] = sum;
}

/// out[t] = row ids[t], if there is one; a thread per 16 values.
template <class F>
__global__ void decode_rows(const std::byte* table, int64_t row_bytes, int64_t n_in, const int32_t* ids, float* out,
                            int64_t out_stride) {
  if (ids[blockIdx.x] < 0) return;
  const std::byte* row = table + ids[blockIdx.x] * row_bytes;
  for (int64_t g = threadIdx.x; g * formats::kGroupLen < n_in; g += blockDim.x) {
    float values[formats::kGroupLen];
    decode_group<F>(row, g, n_in, values);
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) {
      const int64_t at = g * formats::kGroupLen + i;
      if (at < n_in) out[blockIdx.x * out_stride + at] = values[i];
    }
  }
}

}  // namespace steelyard::compute::cuda

// Products with many rows of x in F32. A block decodes 64 weight rows and loads 64 rows of x, 64 values deep at a time,
// and each of its 256 threads sums 4 x 4 products. Used by devices without bfloat16 tensor cores, and by types that
// have neither groups nor BF16.
#pragma once

#include "compute/cuda/tiles.cuh"

namespace steelyard::compute::cuda {

inline constexpr int kTileThreads = 256;

template <class F>
__global__ void __launch_bounds__(kTileThreads) multiply_tiles(ProductArgs args) {
  constexpr int kGroups = kTileDepth / formats::kGroupLen, kSide = 16, kEach = kTileRows / kSide;
  static_assert(kTileRows * kGroups == kTileThreads && kTileTokens == kTileRows);
  CUDA_SHARED(w, float[kTileRows][kTileDepth + 1]);
  CUDA_SHARED(xs, float[kTileTokens][kTileDepth + 1]);
  const Tile tile = find_tile(args, static_cast<int>(blockIdx.y), kTileTokens);
  if (tile.n <= 0) return;
  const int64_t first_row = static_cast<int64_t>(blockIdx.x) * kTileRows;
  const int64_t batch = args.row_begin == nullptr ? tile.slice : 0;
  const std::byte* weights = args.weights + tile.slice * args.slice_bytes;
  const float* x = args.x + tile.first * args.x_stride + batch * args.x_step;
  const int t = static_cast<int>(threadIdx.x), row = t / kGroups, group = t % kGroups;
  const int side_x = t % kSide, side_y = t / kSide;
  float sums[kEach][kEach] = {};
  for (int64_t depth = 0; depth < args.n_in; depth += kTileDepth) {
    float values[formats::kGroupLen] = {};
    if (first_row + row < args.n_out) {
      decode_group<F>(weights + (first_row + row) * args.row_bytes, depth / formats::kGroupLen + group, args.n_in,
                      values);
    }
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) w[row][group * formats::kGroupLen + i] = values[i];
    for (int i = t; i < kTileTokens * kTileDepth; i += kTileThreads) {
      const int token = i / kTileDepth, at = i % kTileDepth;
      const bool inside = token < tile.n && depth + at < args.n_in;
      xs[token][at] = inside ? x[token * args.x_stride + depth + at] : 0.0f;
    }
    __syncthreads();
    for (int k = 0; k < kTileDepth; ++k) {
      float a[kEach], b[kEach];
      CUDA_UNROLL
      for (int i = 0; i < kEach; ++i) {
        a[i] = w[side_y + i * kSide][k];
        b[i] = xs[side_x + i * kSide][k];
      }
      CUDA_UNROLL
      for (int i = 0; i < kEach; ++i) {
        CUDA_UNROLL
        for (int j = 0; j < kEach; ++j) sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
      }
    }
    __syncthreads();
  }
  float* out = args.out + tile.first * args.out_stride + batch * args.out_step;
  CUDA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    CUDA_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const int64_t o = first_row + side_y + i * kSide, token = side_x + j * kSide;
      if (o < args.n_out && token < tile.n) out[token * args.out_stride + o] = sums[i][j];
    }
  }
}

}  // namespace steelyard::compute::cuda

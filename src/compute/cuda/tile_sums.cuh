// Products of F32 matrices of any layout in tiles: a block of 256 threads holds the sums of 64 x 64 results, 4 x 4 per
// thread, and loads 16 values of depth at a time. Sums go through the depth in order. Backward passes consist of these,
// once weights are decoded.
#pragma once

#include "compute/cuda/device.h"

namespace steelyard::compute::cuda {

inline constexpr int kSumTile = 64, kSumDepth = 16, kSumSide = 16, kSumEach = kSumTile / kSumSide;
inline constexpr int kSumThreads = kSumSide * kSumSide;
/// Of a multiprocessor: with these nothing is spilled on any target (docs/cuda.md); ptxas by itself chose one more.
inline constexpr int kSumBlocks = 2;

/// One side of a product, from the tile's first row on: value i at depth k is data[k * depth_step + i * step], and
/// there are n of them.
struct TileSide {
  const float* data;
  int64_t depth_step, step, n;

  /// The same n rows later.
  __device__ TileSide from(int64_t first) const { return {data + first * step, depth_step, step, n - first}; }
};

/// Values at depths [begin, end) from `depth` on; zeros beside them. Neighbouring threads load neighbouring values.
__device__ __forceinline__ void load_side(const TileSide& side, int64_t depth, int64_t end,
                                          float (&tile)[kSumDepth][kSumTile + 1]) {
  const bool along_depth = side.depth_step == 1;
  for (int at = static_cast<int>(threadIdx.x); at < kSumDepth * kSumTile; at += kSumThreads) {
    const int k = along_depth ? at % kSumDepth : at / kSumTile, i = along_depth ? at / kSumDepth : at % kSumTile;
    const bool inside = depth + k < end && i < side.n;
    tile[k][i] = inside ? side.data[(depth + k) * side.depth_step + i * side.step] : 0.0f;
  }
}

/// The sums of a block's tile.
struct TileSums {
  float of[kSumEach][kSumEach] = {};

  /// Adds sum over k in [begin, end) of left(k, a) right(k, b). Called by all threads of a block.
  __device__ __forceinline__ void add(const TileSide& left, const TileSide& right, int64_t begin, int64_t end) {
    CUDA_SHARED(lefts, float[kSumDepth][kSumTile + 1]);
    CUDA_SHARED(rights, float[kSumDepth][kSumTile + 1]);
    const int side_a = static_cast<int>(threadIdx.x) / kSumSide, side_b = static_cast<int>(threadIdx.x) % kSumSide;
    for (int64_t depth = begin; depth < end; depth += kSumDepth) {
      load_side(left, depth, end, lefts);
      load_side(right, depth, end, rights);
      __syncthreads();
      CUDA_UNROLL
      for (int k = 0; k < kSumDepth; ++k) {
        float a[kSumEach], b[kSumEach];
        CUDA_UNROLL
        for (int i = 0; i < kSumEach; ++i) {
          a[i] = lefts[k][side_a + i * kSumSide];
          b[i] = rights[k][side_b + i * kSumSide];
        }
        CUDA_UNROLL
        for (int i = 0; i < kSumEach; ++i) {
          CUDA_UNROLL
          for (int j = 0; j < kSumEach; ++j) of[i][j] = fmaf(a[i], b[j], of[i][j]);
        }
      }
      __syncthreads();
    }
  }

  /// out[a][b] = the sums, or += with `add`; n_a rows and n_b columns are there.
  __device__ __forceinline__ void store(float* out, int64_t stride, int64_t n_a, int64_t n_b, bool add) const {
    const int side_a = static_cast<int>(threadIdx.x) / kSumSide, side_b = static_cast<int>(threadIdx.x) % kSumSide;
    CUDA_UNROLL
    for (int i = 0; i < kSumEach; ++i) {
      CUDA_UNROLL
      for (int j = 0; j < kSumEach; ++j) {
        const int64_t a = side_a + i * kSumSide, b = side_b + j * kSumSide;
        if (a >= n_a || b >= n_b) continue;
        float& value = out[a * stride + b];
        value = add ? value + of[i][j] : of[i][j];
      }
    }
  }
};

}  // namespace steelyard::compute::cuda

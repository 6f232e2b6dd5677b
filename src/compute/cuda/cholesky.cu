// Cholesky's factor in F64. Every element is reduced by one product after the other, in ascending order, which is what
// the CPU does (quantize/cholesky.cc), however blocks are cut. Compiled without contraction to FMA, like the encoders.
#include <algorithm>

#include "compute/cuda/cholesky.h"
#include "compute/cuda/device.h"

namespace steelyard::compute::cuda {
namespace {

constexpr int kBlock = 32;                                    // columns that are factored together
constexpr int kRows = 64;                                     // of a tile that is solved, a thread's each
constexpr int kTile = 64, kSide = 16, kEach = kTile / kSide;  // of what is subtracted from

// The square at `begin`: a warp, of which a thread has a row.
__global__ void __launch_bounds__(kBlock) factor_square(double* a, int64_t n, int64_t begin, int* failed) {
  CUDA_SHARED(square, double[kBlock][kBlock + 1]);
  const int width = static_cast<int>(n - begin < kBlock ? n - begin : kBlock), row = static_cast<int>(threadIdx.x);
  double* const own = a + (begin + row) * n + begin;
  for (int c = 0; row < width && c <= row; ++c) square[row][c] = own[c];
  __syncthreads();
  for (int k = 0; k < width; ++k) {
    if (row == k) {
      if (!(square[k][k] > 0.0)) *failed = 1;
      square[k][k] = sqrt(square[k][k]);
    }
    __syncthreads();
    if (row > k && row < width) square[row][k] /= square[k][k];
    __syncthreads();
    if (row < width) {
      for (int c = k + 1; c <= row; ++c) square[row][c] -= square[row][k] * square[c][k];
    }
    __syncthreads();
  }
  for (int c = 0; row < width && c <= row; ++c) own[c] = square[row][c];
}

// The rows below it.
__global__ void __launch_bounds__(kRows) solve_rows(double* a, int64_t n, int64_t begin) {
  CUDA_SHARED(square, double[kBlock][kBlock + 1]);
  CUDA_SHARED(rows, double[kRows][kBlock + 1]);
  const int64_t first = begin + kBlock + static_cast<int64_t>(blockIdx.x) * kRows;
  const int t = static_cast<int>(threadIdx.x);
  for (int i = t; i < kBlock * kBlock; i += kRows)
    square[i / kBlock][i % kBlock] = a[(begin + i / kBlock) * n + begin + i % kBlock];
  for (int i = t; i < kRows * kBlock; i += kRows) {
    const int64_t row = first + i / kBlock;
    rows[i / kBlock][i % kBlock] = row < n ? a[row * n + begin + i % kBlock] : 0.0;
  }
  __syncthreads();
  for (int k = 0; k < kBlock; ++k) {
    const double solved = rows[t][k] / square[k][k];
    rows[t][k] = solved;
    for (int c = k + 1; c < kBlock; ++c) rows[t][c] -= solved * square[c][k];
  }
  __syncthreads();
  for (int i = t; i < kRows * kBlock; i += kRows) {
    const int64_t row = first + i / kBlock;
    if (row < n) a[row * n + begin + i % kBlock] = rows[i / kBlock][i % kBlock];
  }
}

// Products of these rows, subtracted from what is below and right: a block per tile, 4 x 4 elements a thread.
__global__ void __launch_bounds__(kSide* kSide) subtract_products(double* a, int64_t n, int64_t begin) {
  if (blockIdx.x > blockIdx.y) return;  // above the diagonal
  CUDA_SHARED(left, double[kBlock][kTile + 1]);
  CUDA_SHARED(right, double[kBlock][kTile + 1]);
  const int64_t next = begin + kBlock, row0 = next + static_cast<int64_t>(blockIdx.y) * kTile,
                column0 = next + static_cast<int64_t>(blockIdx.x) * kTile;
  const int t = static_cast<int>(threadIdx.x), side_a = t / kSide, side_b = t % kSide;
  for (int i = t; i < kBlock * kTile; i += kSide * kSide) {
    const int r = i / kBlock, k = i % kBlock;
    left[k][r] = row0 + r < n ? a[(row0 + r) * n + begin + k] : 0.0;
    right[k][r] = column0 + r < n ? a[(column0 + r) * n + begin + k] : 0.0;
  }
  double values[kEach][kEach];
  CUDA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    CUDA_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const int64_t row = row0 + side_a + i * kSide, column = column0 + side_b + j * kSide;
      values[i][j] = row < n && column < n ? a[row * n + column] : 0.0;
    }
  }
  __syncthreads();
  for (int k = 0; k < kBlock; ++k) {
    CUDA_UNROLL
    for (int i = 0; i < kEach; ++i) {
      CUDA_UNROLL
      for (int j = 0; j < kEach; ++j) values[i][j] -= left[k][side_a + i * kSide] * right[k][side_b + j * kSide];
    }
  }
  CUDA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    CUDA_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const int64_t row = row0 + side_a + i * kSide, column = column0 + side_b + j * kSide;
      if (row < n && column < n) a[row * n + column] = values[i][j];
    }
  }
}

unsigned parts(int64_t n, int64_t size) { return static_cast<unsigned>((n + size - 1) / size); }

}  // namespace

cudaError_t cholesky(double* a, int64_t n, int* failed, cudaStream_t stream) {
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    cudaError_t error = CUDA_LAUNCH(factor_square, dim3(1), dim3(kBlock), 0, stream, a, n, begin, failed);
    const int64_t n_below = n - begin - kBlock;
    if (error == cudaSuccess && n_below > 0)
      error = CUDA_LAUNCH(solve_rows, dim3(parts(n_below, kRows)), dim3(kRows), 0, stream, a, n, begin);
    if (error == cudaSuccess && n_below > 0) {
      const unsigned tiles = parts(n_below, kTile);
      error = CUDA_LAUNCH(subtract_products, dim3(tiles, tiles), dim3(kSide * kSide), 0, stream, a, n, begin);
    }
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

}  // namespace steelyard::compute::cuda

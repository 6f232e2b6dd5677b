// The sums of observers: sums of squares, Hessians and cross-covariances, over all rows or over each expert's.
#include "compute/cuda/device.h"
#include "compute/cuda/operations.h"

namespace steelyard::compute::cuda {
namespace {

constexpr int kThreads = 128;

struct RowRange {
  int64_t begin, end;
};
__device__ RowRange rows_of(const Matrix& x, const int32_t* row_begin, int64_t expert) {
  if (row_begin == nullptr) return {0, x.rows};
  return {row_begin[expert], row_begin[expert + 1]};
}

// A thread per column, so that a sum has one owner and one order. In F64, because sums grow over a whole corpus.
__global__ void __launch_bounds__(kThreads)
    add_squares(Matrix x, const int32_t* row_begin, double* sums, int64_t* counts) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, expert = blockIdx.y;
  const RowRange rows = rows_of(x, row_begin, expert);
  if (c == 0 && counts != nullptr) counts[expert] += rows.end - rows.begin;
  if (c >= x.cols || rows.begin == rows.end) return;
  double sum = sums[expert * x.cols + c];
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const double value = x.data[r * x.stride + c];
    sum = fma(value, value, sum);
  }
  sums[expert * x.cols + c] = sum;
}

constexpr int kTile = 64, kDepth = 16, kSide = 16, kEach = kTile / kSide;

// A block per tile [64, 64] of the sums: 256 threads sum 4 x 4 products each, 16 rows of x and y at a time.
__global__ void __launch_bounds__(kSide* kSide)
    add_moments(Matrix x, Matrix y, const int32_t* row_begin, float* sums, int64_t* counts) {
  CUDA_SHARED(left, float[kDepth][kTile + 1]);
  CUDA_SHARED(right, float[kDepth][kTile + 1]);
  const int64_t a0 = static_cast<int64_t>(blockIdx.x) * kTile, b0 = static_cast<int64_t>(blockIdx.y) * kTile;
  const int64_t expert = blockIdx.z;
  const RowRange rows = rows_of(x, row_begin, expert);
  const int t = static_cast<int>(threadIdx.x), side_a = t / kSide, side_b = t % kSide;
  if (t == 0 && a0 == 0 && b0 == 0 && counts != nullptr) counts[expert] += rows.end - rows.begin;
  float products[kEach][kEach] = {};
  for (int64_t first = rows.begin; first < rows.end; first += kDepth) {
    for (int i = t; i < kDepth * kTile; i += kSide * kSide) {
      const int64_t r = first + i / kTile, c = i % kTile;
      const bool inside = r < rows.end;
      left[i / kTile][c] = inside && a0 + c < x.cols ? x.data[r * x.stride + a0 + c] : 0.0f;
      right[i / kTile][c] = inside && b0 + c < x.cols ? y.data[r * y.stride + b0 + c] : 0.0f;
    }
    __syncthreads();
    CUDA_UNROLL
    for (int k = 0; k < kDepth; ++k) {
      CUDA_UNROLL
      for (int i = 0; i < kEach; ++i) {
        CUDA_UNROLL
        for (int j = 0; j < kEach; ++j) {
          products[i][j] = fmaf(left[k][side_a + i * kSide], right[k][side_b + j * kSide], products[i][j]);
        }
      }
    }
    __syncthreads();
  }
  float* own = sums + expert * x.cols * x.cols;
  CUDA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    CUDA_UNROLL
    for (int j = 0; j < kEach; ++j) {
      const int64_t a = a0 + side_a + i * kSide, b = b0 + side_b + j * kSide;
      if (a < x.cols && b < x.cols) own[a * x.cols + b] += products[i][j];
    }
  }
}

}  // namespace

cudaError_t sum_squares(Matrix x, int64_t n_expert, const int32_t* row_begin, double* sums, int64_t* counts,
                        cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((x.cols + kThreads - 1) / kThreads), static_cast<unsigned>(n_expert));
  return CUDA_LAUNCH(add_squares, grid, dim3(kThreads), 0, stream, x, row_begin, sums, counts);
}

cudaError_t second_moments(Matrix x, Matrix y, int64_t n_expert, const int32_t* row_begin, float* sums, int64_t* counts,
                           cudaStream_t stream) {
  const auto tiles = static_cast<unsigned>((x.cols + kTile - 1) / kTile);
  return CUDA_LAUNCH(add_moments, dim3(tiles, tiles, static_cast<unsigned>(n_expert)), dim3(kSide * kSide), 0, stream,
                     x, y, row_begin, sums, counts);
}

}  // namespace steelyard::compute::cuda

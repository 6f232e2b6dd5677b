// Backward passes of matrix products, of weights that were decoded to F32 before: these kernels know no types.
#include "compute/cuda/backward_products.h"
#include "compute/cuda/rows.cuh"
#include "compute/cuda/tile_sums.cuh"
#include "compute/cuda/tiles.cuh"

namespace steelyard::compute::cuda {
namespace {

constexpr int kThreads = 128;

struct RowRange {
  int64_t begin, n;
};

// Rows of x that a slice multiplies.
__device__ RowRange rows_of_slice(const ProductArgs& args, int64_t slice) {
  if (args.row_begin == nullptr) return {0, args.n_rows};
  return {args.row_begin[slice], args.row_begin[slice + 1] - args.row_begin[slice]};
}

// A thread per weight row.
__global__ void __launch_bounds__(kThreads) list_used_rows(ProductArgs args, int64_t n, int32_t* rows) {
  const int64_t r = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (r >= n) return;
  rows[r] = rows_of_slice(args, r / args.n_out).n > 0 ? static_cast<int32_t>(r) : -1;
}

// A block per tile of dx: the sum over the weight's rows.
__global__ void __launch_bounds__(kSumThreads, kSumBlocks)
    add_transposed_tiles(ProductArgs args, const float* weights, float* dx) {
  const Tile tile = find_tile(args, static_cast<int>(blockIdx.y), kSumTile);
  if (tile.n <= 0) return;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumTile;
  const int64_t batch = args.row_begin == nullptr ? tile.slice : 0;
  const TileSide dz{args.out + batch * args.out_step + tile.first * args.out_stride, 1, args.out_stride, tile.n};
  const TileSide w{weights + tile.slice * args.n_out * args.n_in, args.n_in, 1, args.n_in};
  TileSums sums;
  sums.add(dz, w.from(column), 0, args.n_out);
  sums.store(dx + batch * args.x_step + tile.first * args.x_stride + column, args.x_stride, tile.n, args.n_in - column,
             true);
}

// A block per tile of a slice's gradient: the sum over the rows of x.
__global__ void __launch_bounds__(kSumThreads, kSumBlocks)
    store_outer_tiles(ProductArgs args, float* gradients, int64_t add) {
  const int64_t slice = blockIdx.z, batch = args.row_begin == nullptr ? slice : 0;
  const RowRange rows = rows_of_slice(args, slice);
  if (rows.n <= 0) return;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kSumTile, row = static_cast<int64_t>(blockIdx.y) * kSumTile;
  const TileSide dz{args.out + batch * args.out_step + rows.begin * args.out_stride, args.out_stride, 1, args.n_out};
  const TileSide x{args.x + batch * args.x_step + rows.begin * args.x_stride, args.x_stride, 1, args.n_in};
  TileSums sums;
  sums.add(dz.from(row), x.from(column), 0, rows.n);
  sums.store(gradients + (slice * args.n_out + row) * args.n_in + column, args.n_in, args.n_out - row,
             args.n_in - column, add != 0);
}

struct UnitLaunch {
  const float *gradients, *units;
  const int32_t* rows;
  int64_t n_blocks, blocks_of_row, block_len, n_scales, number;
  float* sums;
};

// A warp per block of weights.
__global__ void __launch_bounds__(kThreads) add_unit_products(UnitLaunch args) {
  const int64_t b = static_cast<int64_t>(blockIdx.x) * (kThreads / kWarp) + threadIdx.x / kWarp;
  if (b >= args.n_blocks || args.rows[b / args.blocks_of_row] < 0) return;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float sum = 0;
  for (int64_t i = b * args.block_len + lane; i < (b + 1) * args.block_len; i += kWarp)
    sum = fmaf(args.gradients[i], args.units[i], sum);
  sum = warp_sum(sum);
  if (lane == 0) args.sums[b * args.n_scales + args.number] += sum;
}

int64_t rows_of(const ProductArgs& args) { return args.n_out * n_slices(args); }

}  // namespace

cudaError_t used_rows(const ProductArgs& args, int32_t* rows, cudaStream_t stream) {
  return CUDA_LAUNCH(list_used_rows, dim3(blocks_for(rows_of(args), kThreads)), dim3(kThreads), 0, stream, args,
                     rows_of(args), rows);
}

cudaError_t multiply_transposed(const ProductArgs& args, const float* weights, float* dx, cudaStream_t stream) {
  const dim3 grid(blocks_for(args.n_in, kSumTile), static_cast<unsigned>(max_tiles(args, kSumTile)),
                  static_cast<unsigned>(args.n_batch));
  return CUDA_LAUNCH(add_transposed_tiles, grid, dim3(kSumThreads), 0, stream, args, weights, dx);
}

cudaError_t multiply_outer(const ProductArgs& args, float* gradients, bool add, cudaStream_t stream) {
  const dim3 grid(blocks_for(args.n_in, kSumTile), blocks_for(args.n_out, kSumTile),
                  static_cast<unsigned>(n_slices(args)));
  return CUDA_LAUNCH(store_outer_tiles, grid, dim3(kSumThreads), 0, stream, args, gradients, static_cast<int64_t>(add));
}

cudaError_t add_scale_gradients(const ProductArgs& args, const float* gradients, const float* units,
                                const int32_t* rows, const formats::Format& format, int64_t number, float* sums,
                                cudaStream_t stream) {
  const int64_t blocks_of_row = args.n_in / format.block_len, n_blocks = rows_of(args) * blocks_of_row;
  const UnitLaunch launch{gradients,        units,           rows,   n_blocks, blocks_of_row,
                          format.block_len, format.n_scales, number, sums};
  return CUDA_LAUNCH(add_unit_products, dim3(blocks_for(n_blocks, kThreads / kWarp)), dim3(kThreads), 0, stream,
                     launch);
}

}  // namespace steelyard::compute::cuda

// The parts of error feedback on the device that do not depend on a type: products with panels, and the sizes of
// outputs. Sums have the order of formats/ldlq_row.h: a thread sums an element over ascending columns. Compiled
// without contraction to FMA, like the encoders.
#include "compute/cuda/device.h"
#include "compute/cuda/ldlq.h"
#include "formats/ldlq_row.h"

namespace steelyard::compute::cuda {
namespace {

constexpr int kColumns = 8;  // of a thread
constexpr int kWarps = formats::kPanelStep / kColumns;

__global__ void interleave_rows(LdlqArgs args) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kTileRows + threadIdx.x;
  const int64_t n = args.inputs.n;
  for (int64_t k = static_cast<int64_t>(blockIdx.y) * formats::kPanelStep + threadIdx.y;
       k < (blockIdx.y + 1) * formats::kPanelStep; k += blockDim.y) {
    args.x[(blockIdx.x * n + k) * kTileRows + threadIdx.x] = row < args.n_rows ? args.rows[row * n + k] : 0.0f;
  }
}

__global__ void __launch_bounds__(kWarps* kTileRows)
    multiply_rows_of_tiles(const float* a, int64_t n, int64_t depth, const float* matrix, int64_t width,
                           float* products) {
  const int64_t k = static_cast<int64_t>(blockIdx.y) * formats::kPanelStep + threadIdx.y * kColumns;
  a += blockIdx.x * n * kTileRows + threadIdx.x;
  matrix += k;
  float sums[kColumns] = {};
  for (int64_t j = 0; j < depth; ++j, matrix += width) {
    const float factor = a[j * kTileRows];
    CUDA_UNROLL
    for (int c = 0; c < kColumns; ++c) sums[c] += factor * matrix[c];
  }
  products += (static_cast<int64_t>(blockIdx.x) * formats::kPanelLen + k) * kTileRows + threadIdx.x;
  for (int c = 0; c < kColumns; ++c) products[c * kTileRows] = sums[c];
}

__global__ void accumulate_shrinkage_of_rows(LdlqArgs args, int64_t width) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kTileRows + threadIdx.x;
  if (row >= args.n_rows) return;
  const int64_t at = (blockIdx.x * args.inputs.n + args.begin) * kTileRows + threadIdx.x;
  const float* const product =
      args.products + static_cast<int64_t>(blockIdx.x) * formats::kPanelLen * kTileRows + threadIdx.x;
  double energy = args.begin == 0 ? 0.0 : args.energy[row], projection = args.begin == 0 ? 0.0 : args.projection[row];
  formats::accumulate_shrinkage<kTileRows>(args.x + at, args.errors + at, product, width, energy, projection);
  args.energy[row] = energy;
  args.projection[row] = projection;
}

dim3 tiles_and_columns(int64_t n_tiles, int64_t n_columns) {
  return {static_cast<unsigned>(n_tiles), static_cast<unsigned>(n_columns / formats::kPanelStep)};
}

}  // namespace

cudaError_t interleave(const LdlqArgs& args, cudaStream_t stream) {
  return CUDA_LAUNCH(interleave_rows, tiles_and_columns(args.n_tiles(), args.inputs.n), dim3(kTileRows, kWarps), 0,
                     stream, args);
}

cudaError_t multiply_panel(const LdlqArgs& args, const float* a, int64_t depth, const float* matrix, int64_t width,
                           cudaStream_t stream) {
  return CUDA_LAUNCH(multiply_rows_of_tiles, tiles_and_columns(args.n_tiles(), width), dim3(kTileRows, kWarps), 0,
                     stream, a, args.inputs.n, depth, matrix, width, args.products);
}

cudaError_t accumulate_shrinkage_of_panel(const LdlqArgs& args, int64_t width, cudaStream_t stream) {
  return CUDA_LAUNCH(accumulate_shrinkage_of_rows, dim3(static_cast<unsigned>(args.n_tiles())), dim3(kTileRows), 0,
                     stream, args, width);
}

}  // namespace steelyard::compute::cuda

// The parts of error feedback on the device that do not depend on a type: products with panels, and the sizes of
// outputs. Sums have the order of formats/ldlq_row.h: a thread sums an element over ascending columns. Compiled
// without contraction to FMA, like the encoders.
#include "compute/cuda/device.h"
#include "compute/cuda/ldlq.h"
#include "formats/ldlq_row.h"

namespace steelyard::compute::cuda {
namespace {

constexpr int kColumns = formats::kPanelStep, kDepth = 32;  // of a tile
constexpr int kRowsOfThread = 4, kGroups = 8, kRows = kRowsOfThread * kGroups;
constexpr int kRowThreads = 64;

static_assert(formats::kPanelStep % kDepth == 0, "the depth is a number of whole steps");

__global__ void __launch_bounds__(kColumns* kGroups)
    multiply_rows_of_panel(const float* a, int64_t n_rows, int64_t n, int64_t depth, const float* matrix, int64_t width,
                           float* products) {
  CUDA_SHARED(factors, float[kDepth][kRows + 4]);
  CUDA_SHARED(columns, float[kDepth][kColumns]);
  const auto lane = static_cast<int>(threadIdx.x), group = static_cast<int>(threadIdx.y);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const int64_t k = static_cast<int64_t>(blockIdx.y) * kColumns + lane;
  float sums[kRowsOfThread] = {};
  for (int64_t j = 0; j < depth; j += kDepth) {
    __syncthreads();
    for (int r = group; r < kRows; r += kGroups) {
      factors[lane][r] = first + r < n_rows ? a[(first + r) * n + j + lane] : 0.0f;
      columns[r][lane] = matrix[(j + r) * width + k];
    }
    __syncthreads();
    CUDA_UNROLL
    for (int d = 0; d < kDepth; ++d) {
      CUDA_UNROLL
      for (int r = 0; r < kRowsOfThread; ++r) sums[r] += factors[d][kRowsOfThread * group + r] * columns[d][lane];
    }
  }
  for (int r = 0; r < kRowsOfThread; ++r) {
    const int64_t row = first + kRowsOfThread * group + r;
    if (row < n_rows) products[row * formats::kPanelLen + k] = sums[r];
  }
}

__global__ void accumulate_shrinkage_of_rows(LdlqArgs args, int64_t width) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRowThreads + threadIdx.x;
  if (row >= args.n_rows) return;
  const int64_t at = row * args.inputs.n + args.begin;
  double energy = args.begin == 0 ? 0.0 : args.energy[row], projection = args.begin == 0 ? 0.0 : args.projection[row];
  formats::accumulate_shrinkage(args.rows + at, args.errors + at, args.products + row * formats::kPanelLen, width,
                                energy, projection);
  args.energy[row] = energy;
  args.projection[row] = projection;
}

unsigned pieces(int64_t n, int64_t size) { return static_cast<unsigned>((n + size - 1) / size); }

}  // namespace

cudaError_t multiply_panel(const LdlqArgs& args, const float* a, int64_t depth, const float* matrix, int64_t width,
                           cudaStream_t stream) {
  return CUDA_LAUNCH(multiply_rows_of_panel, dim3(pieces(args.n_rows, kRows), pieces(width, kColumns)),
                     dim3(kColumns, kGroups), 0, stream, a, args.n_rows, args.inputs.n, depth, matrix, width,
                     args.products);
}

cudaError_t accumulate_shrinkage_of_panel(const LdlqArgs& args, int64_t width, cudaStream_t stream) {
  return CUDA_LAUNCH(accumulate_shrinkage_of_rows, dim3(pieces(args.n_rows, kRowThreads)), dim3(kRowThreads), 0, stream,
                     args, width);
}

}  // namespace steelyard::compute::cuda

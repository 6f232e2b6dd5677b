// What the kernels of matrix products share: the rows that a block multiplies, and weights in the form that kernels
// need.
#pragma once

#include "base/half.h"
#include "compute/cuda/device.h"
#include "compute/cuda/products.h"
#include "formats/bf16.h"
#include "formats/codec.h"
#include "formats/f16.h"
#include "formats/f32.h"
#include "formats/f64.h"

namespace steelyard::compute::cuda {

/// Rows of x that a block multiplies with one slice of the weights.
struct Tile {
  int64_t slice;
  int64_t first, n;   ///< rows of x and of out
  int64_t input_row;  ///< of the prepared input
};

/// Tile `index` of at most `size` rows; n is 0 beyond the last. All threads of a warp must ask together.
__device__ __forceinline__ Tile find_tile(const ProductArgs& args, int index, int size) {
  if (args.row_begin == nullptr) {
    const int64_t first = static_cast<int64_t>(index) * size, rest = args.n_rows - first;
    const int64_t slice = blockIdx.z;
    return {slice, first, rest < size ? rest : size, slice * args.n_rows + first};
  }
  // 32 experts at a time: how many tiles those before each of them have.
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int before = 0;
  for (int base = 0; base < args.n_expert; base += kWarp) {
    const int expert = base + lane;
    const int begin = expert < args.n_expert ? args.row_begin[expert] : 0;
    const int n = expert < args.n_expert ? args.row_begin[expert + 1] - begin : 0;
    const int tiles = (n + size - 1) / size;
    int through = tiles;  // of this expert and those before it among the 32
    for (int o = 1; o < kWarp; o *= 2) {
      const int other = __shfl_up_sync(kFullMask, through, o);
      if (lane >= o) through += other;
    }
    const int wanted = index - before - (through - tiles);
    const unsigned found = __ballot_sync(kFullMask, wanted >= 0 && wanted < tiles);
    if (found != 0) {
      const int at = __ffs(static_cast<int>(found)) - 1;
      const int first = __shfl_sync(kFullMask, begin + wanted * size, at);
      const int rest = __shfl_sync(kFullMask, begin + n, at) - first;
      return {base + at, first, rest < size ? rest : size, first};
    }
    before += __shfl_sync(kFullMask, through, kWarp - 1);
  }
  return {0, 0, 0, 0};
}

// ---- weights

template <class F>
__device__ __forceinline__ const typename F::Block& block_at(const std::byte* row, int64_t index) {
  return reinterpret_cast<const typename F::Block*>(row)[index];
}

/// Group `index` of a row, counted from its beginning.
template <class F>
__device__ __forceinline__ void load_group(const std::byte* row, int64_t index, formats::Group& group) {
  constexpr int kGroups = F::kBlockLen / formats::kGroupLen;
  F::unpack(block_at<F>(row, index / kGroups), static_cast<int>(index % kGroups), group);
}

__device__ __forceinline__ float value_of(const formats::F32::Block& block) { return block.value; }
__device__ __forceinline__ float value_of(const formats::F64::Block& block) { return static_cast<float>(block.value); }
__device__ __forceinline__ float value_of(const formats::F16::Block& block) { return to_float(block.half); }
__device__ __forceinline__ float value_of(const formats::BF16::Block& block) { return to_float(block.bfloat); }

/// Values [16 index, 16 index + 16) of a row, rounded as the format says; zeros beyond n_in.
template <class F>
__device__ __forceinline__ void decode_group(const std::byte* row, int64_t index, int64_t n_in, float* out) {
  if constexpr (formats::Grouped<F>) {
    formats::Group group{};
    if (index * formats::kGroupLen < n_in) load_group<F>(row, index, group);
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) out[i] = __fsub_rn(__fmul_rn(group.scale, group.q[i]), group.min);
  } else {
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) {
      const int64_t at = index * formats::kGroupLen + i;
      out[i] = at < n_in ? value_of(block_at<F>(row, at)) : 0.0f;
    }
  }
}

}  // namespace steelyard::compute::cuda

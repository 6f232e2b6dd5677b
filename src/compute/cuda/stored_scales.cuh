// Writes the numbers of blocks that their values are linear in (Format::write_scales): a thread per block.
#pragma once

#include "compute/cuda/device.h"
#include "formats/codec.h"

namespace steelyard::compute::cuda {

inline constexpr int kScaleThreads = 128;

/// scales: [n_blocks, n_scales]; where it is null, number `unit` of each block is 1 and the others 0.
template <class F>
__global__ void __launch_bounds__(kScaleThreads)
    write_block_scales(std::byte* blocks, int64_t n_blocks, const float* scales, int64_t unit) {
  constexpr int kScales = formats::kStoredScales<F>;
  const int64_t b = static_cast<int64_t>(blockIdx.x) * kScaleThreads + threadIdx.x;
  if (b >= n_blocks) return;
  float values[kScales];
  CUDA_UNROLL
  for (int k = 0; k < kScales; ++k) values[k] = scales != nullptr ? scales[b * kScales + k] : k == unit ? 1.0f : 0.0f;
  formats::write_scales<F>(values, reinterpret_cast<typename F::Block*>(blocks)[b]);
}

}  // namespace steelyard::compute::cuda

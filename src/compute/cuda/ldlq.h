// Error feedback on the device: the arguments of its kernels. Rows are processed in tiles of as many rows as a block
// has threads. Values that a tile's threads read at the same time lie side by side ("interleaved": [tiles, n,
// kTileRows]). Called by ldlq_rounder.cc; types have kernels of their own for the steps (encoders.h).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "formats/ldlq_inputs.h"

namespace steelyard::compute::cuda {

inline constexpr int kTileRows = 32, kBooks = 2;

enum class LdlqStep { kRound, kDescend, kFinish };

/// All pointers, including those of `inputs`, are the device's.
struct LdlqArgs {
  formats::LdlqInputs inputs;
  const float* rows;  ///< [n_rows, n]
  std::byte* out;     ///< [n_rows, n / block_len * block_bytes]
  // The work space of the kernels.
  float* x;            ///< the rows, interleaved, as are
  float* errors;       ///< of whole tiles, and
  float* products;     ///< [tiles, kPanelLen, kTileRows]
  void* scales;        ///< [n_rows, n / block_len] of the type's scales
  uint32_t* codes;     ///< [n_rows, n / vector_dim]
  double* energy;      ///< [rows of whole tiles], as is
  double* projection;  ///< x H x^T and x H q^T
  const void* books[kBooks];
  int64_t n_rows;
  int64_t begin;  ///< of the panel

  int64_t n_tiles() const { return (n_rows + kTileRows - 1) / kTileRows; }
};

// ---- ldlq.cu: kernels that do not depend on a type

/// rows to x; zeros where the last tile has no row.
cudaError_t interleave(const LdlqArgs& args, cudaStream_t stream);
/// products = a, which is x or errors, times the first `depth` rows of a panel's matrix [n, width].
cudaError_t multiply_panel(const LdlqArgs& args, const float* a, int64_t depth, const float* matrix, int64_t width,
                           cudaStream_t stream);
/// Adds the panel's part to energy and projection; products are x H.
cudaError_t accumulate_shrinkage_of_panel(const LdlqArgs& args, int64_t width, cudaStream_t stream);

}  // namespace steelyard::compute::cuda

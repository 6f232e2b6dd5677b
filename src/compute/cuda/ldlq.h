// Error feedback on the device: the arguments of its kernels. Called by ldlq_rounder.cc; types have kernels of their
// own for the steps (encoders.h).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "formats/ldlq_inputs.h"

namespace steelyard::compute::cuda {

inline constexpr int kBooks = 2;

enum class LdlqStep { kRound, kDescend, kFinish };

/// All pointers, including those of `inputs`, are the device's.
struct LdlqArgs {
  formats::LdlqInputs inputs;
  const float* rows;  ///< [n_rows, n]
  std::byte* out;     ///< [n_rows, n / block_len * block_bytes]
  // The work space of the kernels.
  float* errors;       ///< [n_rows, n]
  float* products;     ///< [n_rows, kPanelLen]
  void* scales;        ///< [n_rows, n / block_len] of the type's scales
  uint32_t* codes;     ///< [n_rows, n / vector_dim]
  double* energy;      ///< [n_rows], as is
  double* projection;  ///< x H x^T and x H q^T
  const void* books[kBooks];
  int64_t n_rows;
  int64_t begin;  ///< of the panel
};

// ---- ldlq.cu: kernels that do not depend on a type

/// products = a, which is rows or errors, times the first `depth` rows of a panel's matrix [n, width].
cudaError_t multiply_panel(const LdlqArgs& args, const float* a, int64_t depth, const float* matrix, int64_t width,
                           cudaStream_t stream);
/// Adds the panel's part to energy and projection; products are rows H.
cudaError_t accumulate_shrinkage_of_panel(const LdlqArgs& args, int64_t width, cudaStream_t stream);

}  // namespace steelyard::compute::cuda

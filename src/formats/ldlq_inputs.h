// The statistics of a matrix's inputs that error feedback uses: made by quantize/ldlq.cc, read by
// formats/ldlq_row.h on the CPU or on a device.
#pragma once

#include <cstdint>

#include "formats/encoder.h"

namespace steelyard::formats {

/// Columns between two matrix products: a multiple of every block length.
inline constexpr int kPanelLen = 256;
/// The width of every panel, and so every block length, is a multiple of this.
inline constexpr int kPanelStep = 32;

/// Square matrices are stored in panels of kPanelLen columns, one after the other; the last may be narrower. Column k
/// of row j, in the panel of `width` columns that begins at column `begin`, is at begin * n + j * width + k - begin.
struct LdlqInputs {
  int64_t n;                      ///< columns, a multiple of the type's block
  const float* factor;            ///< R [n, n] in panels, H = R R^T upper triangular
  const float* hessian;           ///< H, damped, [n, n] in panels
  const float* weights;           ///< [n] of the squares of what is rounded less what it becomes
  const float* vector_inverse;    ///< [n / vector_dim, vector_dim, vector_dim] inverses of H's diagonal blocks
  double shrinkage_compensation;  ///< share of the shrinkage of a row's outputs
  int64_t passes;                 ///< of coordinate descent
  int64_t effort;                 ///< an Effort, as wide as its neighbours so that there is no padding
};

}  // namespace steelyard::formats

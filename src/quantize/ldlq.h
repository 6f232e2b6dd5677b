// Error feedback (GPTQ, LDLQ): rounds a matrix for the error of its outputs, not of its weights.
//
// Let the Hessian H be the mean of x x^T over a linear's inputs x. Then a row of errors e = w - q costs e H e^T. Take
// the upper triangular R with H = R R^T. The cost is |e R|^2, and column k of e R holds no error of a later column. So
// columns are rounded in order, and each compensates the errors of the columns before it:
//   w'_k = w_k + (sum over j < k of e_j R_jk) / R_kk,  at the cost  R_kk^2 (w'_k - q_k)^2.
// This is GPTQ (Frantar et al. 2022) and LDLQ (Chee et al. 2023, "QuIP") without an inverse of H. Values that a
// format codes jointly are compensated together, with the triangle R_BB in place of R_kk. A block's scales are fitted
// when it is reached, and a sub-block's scales again when it is reached. Then passes of coordinate descent on e H e^T
// round every group once more, with the errors on both sides known, and set each block's scale to the best one for
// its codes. At the end shrinkage compensation gives a row back a share of what least squares took from the size of
// its outputs.
//
// H comes from some text, but has to hold for all text. Damping adds a part of its own diagonal to each column. So
// correlations between columns count less than the columns themselves. The less a correlation can be trusted, the more
// damping it needs. (A constant for all columns would be that of the largest, where a few columns have most of the
// energy.)
//
// A row's bytes depend only on the row and H. Called by calibrate/, for the tensors whose inputs were observed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "formats/device_encoder.h"
#include "formats/format.h"
#include "quantize/hessian_factor.h"

namespace steelyard::quantize {

/// How a matrix is rounded with feedback.
struct LdlqSettings {
  double damping = 0.3;                 ///< part of its diagonal that is added to H; docs/quantize.md
  int passes = 3;                       ///< of coordinate descent
  double shrinkage_compensation = 0.7;  ///< share of the shrinkage of a row's outputs; docs/quantize.md
  formats::Effort effort = formats::Effort::kNormal;
  /// Part of a block's mean weight that each column gets where scales are fitted (kWeightFloor). It helps where H is an
  /// estimate. Where H was measured, the other columns compensate what is left of a dominant column's error, and that
  /// rest should be small.
  float weight_floor = 0.0f;
};

class LdlqEncoder {
 public:
  /// `hessian`: the Hessian H [n, n], symmetric, n a multiple of the format's block. Returns nothing where H cannot be
  /// used: it holds no data or non-finite values, or is not positive definite after damping. `device`: rounds there,
  /// with the same bytes, if it encodes this type; null: the CPU.
  static std::optional<LdlqEncoder> make(const formats::Format& format, int64_t n, const float* hessian,
                                         const LdlqSettings& settings, formats::DeviceEncoder* device = nullptr);
  /// The same with a factor that other encoders use too. The damping is the factor's.
  LdlqEncoder(const formats::Format& format, std::shared_ptr<const HessianFactor> factor, const LdlqSettings& settings,
              formats::DeviceEncoder* device = nullptr);

  /// Writes n_rows rows [n] as blocks; thread-safe, and parallel inside.
  void encode(const float* rows, int64_t n_rows, std::byte* out) const;

 private:
  const formats::Format* format_;
  std::shared_ptr<const HessianFactor> factor_;
  LdlqSettings settings_;
  formats::DeviceEncoder* device_;
  std::vector<float> weights_, vector_inverse_;  // of HessianFactor, for the type
};

/// Mean over rows of e H e^T, with e = rows - decoded: the error of a matrix's outputs, per output and token. With a
/// `linear_term` [n_rows, n] (quantize/correction.h; may be null) also 2 e linear_term^T. The part that no e can change
/// is left out, so the result may be negative.
double output_error(int64_t n, const float* hessian, const float* linear_term, const float* rows, const float* decoded,
                    int64_t n_rows);

}  // namespace steelyard::quantize

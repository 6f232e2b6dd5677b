// Error feedback: rounds a matrix for what its outputs lose, not its weights.
//
// With H the mean of x x^T over a linear's inputs x, a row of errors e = w - q costs e H e^T. Take the upper triangular
// R with H = R R^T: the cost is |e R|^2, and column k of e R holds no error of a later column. So columns are rounded
// in order, each to what the errors before it leave to be mended:
//   w'_k = w_k + (sum over j < k of e_j R_jk) / R_kk,  at the cost  R_kk^2 (w'_k - q_k)^2.
// That is GPTQ (Frantar et al. 2022) and LDLQ (Chee et al. 2023, "QuIP") without an inverse of H. Values that a format
// codes jointly are mended together, with the triangle R_BB in place of R_kk. A block's scales are fitted when it is
// reached, a sub-block's again when it is. Then passes of coordinate descent on e H e^T round every group once more,
// knowing the errors on both sides, and set the blocks' scales to the length that suits their codes. At last a row gets
// back a share of what least squares took from the size of its outputs.
//
// H is what some text says about all text. Damping adds a part of its diagonal to it, column by column, so that what
// two columns have in common counts less than what each is by itself: the more, the less a correlation needs to be
// believed. (A constant for all columns would be that of the largest, where a few columns have most of the energy.)
//
// A row's bytes depend on nothing but the row and H. Called by calibrate/, for the tensors whose inputs were watched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "formats/device_encoder.h"
#include "formats/format.h"

namespace steelyard {

/// How a matrix is rounded with feedback.
struct FeedbackSettings {
  double damping = 0.3;     ///< part of its diagonal that is added to H; docs/quantize.md
  int passes = 3;           ///< of coordinate descent
  double given_back = 0.7;  ///< share of the shrinkage of a row's outputs; docs/quantize.md
  Effort effort = Effort::kNormal;
  /// Part of a block's mean weight that each column gets where scales are fitted (kLeastWeight). Of use where H is a
  /// guess; where it was measured, others bend to what is left of a loud column's error, which should be little.
  float least_weight = 0.0f;
};

class FeedbackEncoder {
 public:
  /// `moments`: H [n, n], symmetric, n a multiple of the format's block. Empty where H is not of use: it holds no data
  /// or values that are not finite, or damping does not make it positive definite. `device`: where to round, with the
  /// same bytes, if it encodes this type; null: the processor.
  static std::optional<FeedbackEncoder> make(const Format& format, int64_t n, const float* moments,
                                             const FeedbackSettings& settings, DeviceEncoder* device = nullptr);

  /// Writes n_rows rows [n] as blocks; thread-safe, and parallel inside.
  void encode(const float* rows, int64_t n_rows, std::byte* out) const;

 private:
  FeedbackEncoder(const Format& format, int64_t n, const FeedbackSettings& settings, DeviceEncoder* device)
      : format_(&format), n_(n), settings_(settings), device_(device) {}

  const Format* format_;
  int64_t n_;
  FeedbackSettings settings_;
  DeviceEncoder* device_;
  // What FeedbackInputs points to.
  std::vector<float> factor_, moments_;
  std::vector<float> weights_;  // the diagonals of R_BB R_BB^T
  std::vector<float> group_inverse_;
};

/// Mean over rows of e H e^T, with e = rows - decoded: what a matrix's outputs lose, per output and token. With a
/// `pull` [n_rows, n] (quantize/correction.h; may be null) also 2 e pull^T, less what no e can change: it may be
/// negative.
double output_error(int64_t n, const float* moments, const float* pull, const float* rows, const float* decoded,
                    int64_t n_rows);

}  // namespace steelyard

// The target of a linear whose inputs have changed because earlier layers were quantized. In the original model it
// reads y, in the quantized model it reads x. Its outputs should still be W y.
//
// With H the mean of x x^T and D the mean of (y - x) x^T, errors e = W - Q cost the mean of
//   |W y - Q x|^2 = |e x + W (y - x)|^2 = e H e^T + 2 e (W D)^T + const for each row,
// which is least at W + W D H^-1: least squares of W y on x. Rounding then starts from there. (Li et al. 2025, "GPTAQ",
// reach the same target by updates inside of GPTQ.)
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace steelyard::quantize {

/// W D: the correction that the changed inputs ask for. rows: W [n_rows, n]; cross_covariance: the cross-covariance D
/// [n, n]. Empty when D is.
std::vector<float> compute_linear_term(const std::vector<float>& rows, const std::vector<float>& cross_covariance,
                                       int64_t n);

/// The correction of all rows that read the same inputs. Its factor is made once, n^3 / 3 multiplications.
class Correction {
 public:
  /// hessian: H [n, n]. The ridge keeps a row close to W in directions that few inputs describe.
  Correction(const std::vector<float>& hessian, int64_t n, double ridge);
  ~Correction();

  /// W + linear_term (H + ridge * its diagonal)^-1. Returns W itself where there is no linear term or H is not positive
  /// definite. Thread-safe.
  std::vector<float> corrected(const std::vector<float>& rows, const std::vector<float>& linear_term) const;

 private:
  struct Factor;
  int64_t n_;
  std::unique_ptr<const Factor> factor_;
};

}  // namespace steelyard::quantize

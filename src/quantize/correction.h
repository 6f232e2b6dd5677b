// The target of a linear whose inputs have changed because earlier layers were quantized. In the original model it
// reads y, in the quantized model it reads x. Its outputs should still be W y.
//
// With H the mean of x x^T and D the mean of (y - x) x^T, errors e = W - Q cost the mean of
//   |W y - Q x|^2 = |e x + W (y - x)|^2 = e H e^T + 2 e (W D)^T + const for each row,
// which is least at W + W D H^-1: least squares of W y on x. Rounding then starts from there. (Li et al. 2025, "GPTAQ",
// reach the same target by updates inside of GPTQ.)
#pragma once

#include <cstdint>
#include <vector>

namespace steelyard {

/// W D: the correction that the changed inputs ask for. rows: W [n_rows, n]; drift: the cross-covariance D [n, n].
/// Empty when D is.
std::vector<float> pull_of(const std::vector<float>& rows, const std::vector<float>& drift, int64_t n);

/// W + pull (H + ridge * its diagonal)^-1, where moments is H [n, n]. Returns W itself where there is no pull or H is
/// not positive definite. The ridge keeps a row close to W in directions that few inputs describe.
std::vector<float> corrected(const std::vector<float>& rows, const std::vector<float>& pull,
                             const std::vector<float>& moments, int64_t n, double ridge);

}  // namespace steelyard

// What a linear can do about its inputs having moved: layers before it were rounded, and where the model as it is in
// the file reads y, it reads x. Its outputs shall be W y all the same.
//
// With H the mean of x x^T and D the mean of (y - x) x^T, errors e = W - Q cost the mean of
//   |W y - Q x|^2 = |e x + W (y - x)|^2 = e H e^T + 2 e (W D)^T + const for each row,
// which is least at W + W D H^-1: least squares of W y on x. Rounding then goes from there. (Li et al. 2025, "GPTAQ",
// come to the same target by updates inside of GPTQ.)
#pragma once

#include <cstdint>
#include <vector>

namespace steelyard {

/// W D: what the moved inputs pull each row towards. rows: W [n_rows, n]; drift: D [n, n]. Empty when D is.
std::vector<float> pull_of(const std::vector<float>& rows, const std::vector<float>& drift, int64_t n);

/// W + pull (H + ridge * its diagonal)^-1, where moments is H [n, n]; W itself where there is no pull or H is not
/// positive definite. The ridge keeps to W what few inputs say little about.
std::vector<float> corrected(const std::vector<float>& rows, const std::vector<float>& pull,
                             const std::vector<float>& moments, int64_t n, double ridge);

}  // namespace steelyard

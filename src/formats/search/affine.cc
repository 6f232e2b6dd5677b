#include "formats/search/affine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "formats/search/affine_search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {
namespace {

STEELYARD_HD void nearest_codes(int high, const float* x, Affine scales, uint32_t* codes) {
  round_values(x, kAffineLen, to_float(scales.d), -to_float(scales.m), 0, high, codes);
}

STEELYARD_HD double affine_error(const float* x, const float* w, const uint32_t* codes, Affine scales) {
  const double d = to_float(scales.d);
  const double m = to_float(scales.m);
  double error = 0.0;
  for (int i = 0; i < kAffineLen; ++i) {
    const double difference = x[i] - (d * codes[i] + m);
    error += w[i] * difference * difference;
  }
  return error;
}

}  // namespace

STEELYARD_HD Affine fit_affine(int high, const float* x, const float* w, Effort effort, uint32_t* codes) {
  Common<NormalizedBlock> normalized(x, w, kAffineLen);
  // Around the mean, the best offset is that of a level below it. So the search loses nothing by assuming minima.
  double sum = 0.0;
  double weights = 0.0;
  for (int i = 0; i < kAffineLen; ++i) {
    sum += static_cast<double>(normalized->w[i]) * normalized->x[i];
    weights += normalized->w[i];
  }
  const auto mean = static_cast<float>(sum / weights);
  each(kAffineLen, [&](int i) { normalized->x[i] -= mean; });
  const AffineFit fit = search_affine(static_cast<float>(high), normalized->x, normalized->w, kAffineLen, effort);
  Affine best = {normalized->store(fit.scale), normalized->store(mean - fit.min)};
  nearest_codes(high, x, best, codes);
  if (effort != Effort::kBest) return best;

  // Rounding to halves has changed some codes, so the pair is refitted to them.
  double error = affine_error(x, w, codes, best);
  for (int step = 0; step < 8; ++step) {
    const Affine refitted = refit_affine(x, w, codes, best);
    Common<uint32_t[kAffineLen]> refitted_codes;
    nearest_codes(high, x, refitted, *refitted_codes);
    const double refitted_error = affine_error(x, w, *refitted_codes, refitted);
    if (refitted_error >= error) break;
    error = refitted_error;
    best = refitted;
    each(kAffineLen, [&](int i) { codes[i] = (*refitted_codes)[i]; });
  }
  return best;
}

STEELYARD_HD uint32_t round_affine(int high, float x, Affine scales, float* value) {
  const float d = to_float(scales.d);
  const float m = to_float(scales.m);
  const int code = d == 0.0f ? 0 : nearest_down((x - m) / d, 0, high);
  *value = d * static_cast<float>(code) + m;
  return static_cast<uint32_t>(code);
}

STEELYARD_HD Affine refit_affine(const float* x, const float* w, const uint32_t* codes, Affine scales) {
  double w1 = 0.0;
  double q1 = 0.0;
  double x1 = 0.0;
  for (int i = 0; i < kAffineLen; ++i) {
    w1 += w[i];
    q1 += static_cast<double>(w[i]) * codes[i];
    x1 += static_cast<double>(w[i]) * x[i];
  }
  if (w1 == 0.0) return scales;
  // Around the means of codes and values, where no digits cancel out.
  ScaleSums sums;
  for (int i = 0; i < kAffineLen; ++i) sums.add(x[i] - x1 / w1, w[i], codes[i] - q1 / w1);
  const auto to_stored = [](double value) { return finite_half(static_cast<float>(std::clamp(value, -1e5, 1e5))); };
  Affine refitted;
  refitted.d = to_stored(sums.best_scale());
  refitted.m = to_stored((x1 - to_float(refitted.d) * q1) / w1);
  return affine_error(x, w, codes, refitted) < affine_error(x, w, codes, scales) ? refitted : scales;
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET

#include "formats/search.h"

namespace steelyard {
namespace {

/// The power of two that brings `max` into [0.5, 1); 0 for 0.
int exponent_of(float max) {
  int exponent = 0;
  if (max > 0.0f) std::frexp(max, &exponent);
  return exponent;
}

/// value * power; in double, since 2^148 (what a subnormal block needs) is no float. Exact unless the result is a
/// subnormal float.
float scaled(float value, double power) { return static_cast<float>(static_cast<double>(value) * power); }

/// Tries candidate pairs: rounds every value under each, and keeps what least squares makes of the codes if its error
/// is less than `error`.
void improve_affine(float high, const float* x, const float* w, int n, const float (&scales)[kCandidates],
                    const float (&mins)[kCandidates], AffineFit& best, float& error) {
  const IntegerLevels levels = {0.0f, high};
  float w1 = 0.0f;
  float x1 = 0.0f;
  float xx = 0.0f;
  for (int i = 0; i < n; ++i) {
    w1 += w[i];
    x1 += w[i] * x[i];
    xx += w[i] * x[i] * x[i];
  }
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Lanes inverse = inverse_or_zero(load(scales + c));
    const Lanes start = load(mins + c);
    Lanes q1 = {};
    Lanes qq = {};
    Lanes xq = {};
    for (int i = 0; i < n; ++i) {
      const Lanes q = levels.nearest((x[i] + start) * inverse);
      const Lanes wq = w[i] * q;
      q1 += wq;
      qq += wq * q;
      xq += wq * x[i];
    }
    const Lanes determinant = qq * w1 - q1 * q1;
    const Lanes free_min = (q1 * xq - qq * x1) / determinant;
    const Lanes free_scale = (xq * w1 - q1 * x1) / determinant;
    const auto is_free = (determinant > Lanes{}) & (free_min > Lanes{});
    const Lanes min = is_free ? free_min : Lanes{};
    const Lanes scale = is_free ? free_scale : xq / qq;
    const Lanes errors = xx + scale * (scale * qq - 2.0f * xq) + min * (min * w1 + 2.0f * (x1 - scale * q1));
    for (int l = 0; l < kLanes; ++l) {
      if (scale[l] > 0.0f && errors[l] < error) {
        error = errors[l];
        best = {scale[l], min[l]};
      }
    }
  }
}

}  // namespace

Half finite_half(float value) {
  constexpr float kMax = 65504.0f;
  return to_half(std::clamp(value, -kMax, kMax));
}

void importance_objective(const float* x, const float* importance, int n, float* w) {
  double max = 0.0;
  double mean_importance = 0.0;
  for (int i = 0; i < n; ++i) {
    max = std::max(max, std::fabs(static_cast<double>(x[i])));
    if (importance != nullptr) mean_importance += static_cast<double>(importance[i]) / n;
  }
  if (max == 0.0) max = 1.0;
  double mean_square = 0.0;
  for (int i = 0; i < n; ++i) mean_square += (x[i] / max) * (x[i] / max) / n;
  for (int i = 0; i < n; ++i) {
    const double size = std::sqrt(2.0 * mean_square + (x[i] / max) * (x[i] / max));
    const double column = mean_importance > 0.0 ? importance[i] / mean_importance + 1e-5 : 1.0;
    w[i] = static_cast<float>(column * size);
  }
}

UnitBlock::UnitBlock(const float* block_x, const float* block_w, int n) {
  float max_w = 0.0f;
  for (int i = 0; i < n; ++i) max_w = std::max(max_w, block_w[i]);
  const double w_power = std::ldexp(1.0, -exponent_of(max_w));
  float max_x = 0.0f;
  for (int i = 0; i < n; ++i) {
    w[i] = max_w > 0.0f ? scaled(block_w[i], w_power) : 1.0f;
    max_x = std::max(max_x, w[i] > 0.0f ? std::fabs(block_x[i]) : 0.0f);
  }
  power = std::ldexp(1.0, exponent_of(max_x));
  for (int i = 0; i < n; ++i) x[i] = w[i] > 0.0f ? scaled(block_x[i], 1.0 / power) : 0.0f;
}

Half UnitBlock::store(float d) const { return finite_half(scaled(d, power)); }

float UnitBlock::load(Half d) const { return scaled(to_float(d), 1.0 / power); }

Half refit_scale(const ScaleSums& sums, Half d) {
  // Clamping first keeps the conversion to float within range.
  const double best = std::clamp(sums.best_scale(), -65504.0, 65504.0);
  const Half candidate = finite_half(static_cast<float>(best));
  return sums.error(to_float(candidate)) < sums.error(to_float(d)) ? candidate : d;
}

void affine_errors(float high, const float* x, const float* w, int n, const float (&scales)[kCandidates],
                   const float (&mins)[kCandidates], float (&errors)[kCandidates]) {
  const IntegerLevels levels = {0.0f, high};
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Lanes scale = load(scales + c);
    const Lanes inverse = inverse_or_zero(scale);
    const Lanes min = load(mins + c);
    Lanes error = {};
    for (int i = 0; i < n; ++i) {
      const Lanes shifted = x[i] + min;
      const Lanes difference = shifted - scale * levels.nearest(shifted * inverse);
      error += w[i] * (difference * difference);
    }
    store(error, errors + c);
  }
}

AffineFit search_affine(float high, const float* x, const float* w, int n) {
  float low_x = 0.0f;
  float high_x = -FLT_MAX;
  float w1 = 0.0f;
  float x1 = 0.0f;
  for (int i = 0; i < n; ++i) {
    low_x = std::min(low_x, x[i]);
    high_x = std::max(high_x, x[i]);
    w1 += w[i];
    x1 += w[i] * x[i];
  }
  // All values on one level below zero is where the search starts.
  AffineFit best = {0.0f, w1 > 0.0f ? std::max(0.0f, -x1 / w1) : 0.0f};
  float error = 0.0f;
  for (int i = 0; i < n; ++i) error += w[i] * (x[i] + best.min) * (x[i] + best.min);

  float scales[kCandidates];
  float mins[kCandidates];
  // Ranges that cut off more and more below (passes) and above (candidates).
  for (int pass = 0; pass < 4; ++pass) {
    const float min = -low_x * (1.02f - 0.08f * static_cast<float>(pass));
    for (int c = 0; c < kCandidates; ++c) {
      scales[c] = (high_x + min) / high * (1.05f - 0.03f * static_cast<float>(c));
      mins[c] = min;
    }
    improve_affine(high, x, w, n, scales, mins, best, error);
  }
  // Then closer and closer around the best so far.
  for (const float width : {0.03f, 0.01f}) {
    const AffineFit centre = best;
    for (int c = 0; c < kCandidates; ++c) {
      scales[c] = centre.scale * (1.0f + width * (static_cast<float>(c % 4) - 1.5f));
      mins[c] = centre.min + centre.scale * high * width * (static_cast<float>(c / 4) - 1.5f);
    }
    improve_affine(high, x, w, n, scales, mins, best, error);
  }
  return best;
}

}  // namespace steelyard

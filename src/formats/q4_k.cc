#include "formats/q4_k.h"

#include "formats/search.h"

namespace steelyard {
namespace {

constexpr float kHigh = 15.0f;
constexpr int kSubBlocks = Q4_K::kSubBlocks;
constexpr int kSubBlockLen = Q4_K::kSubBlockLen;

int six_bits(float value, float unit) { return unit == 0.0f ? 0 : nearest_down(value / unit, 0, 63); }

struct Units {
  float d;
  float d_min;
};

/// The units under which the free fits of the sub-blocks, rounded to 6 bits, lose least. The largest fit becomes 63 or
/// a little less, which lets the others round better.
Units search_units(const UnitBlock& unit, const AffineFit (&wanted)[kSubBlocks]) {
  AffineFit largest = {0.0f, 0.0f};
  for (const AffineFit& fit : wanted) {
    largest = {std::max(largest.scale, fit.scale), std::max(largest.min, fit.min)};
  }
  Units units[kCandidates];
  float totals[kCandidates] = {};
  for (int c = 0; c < kCandidates; ++c) {
    units[c].d = unit.load(unit.store(largest.scale / (63.5f - 0.75f * static_cast<float>(c % 4))));
    units[c].d_min = unit.load(unit.store(largest.min / (63.5f - 0.75f * static_cast<float>(c / 4))));
  }
  for (int b = 0; b < kSubBlocks; ++b) {
    float scales[kCandidates];
    float mins[kCandidates];
    float errors[kCandidates];
    for (int c = 0; c < kCandidates; ++c) {
      scales[c] = units[c].d * static_cast<float>(six_bits(wanted[b].scale, units[c].d));
      mins[c] = units[c].d_min * static_cast<float>(six_bits(wanted[b].min, units[c].d_min));
    }
    affine_errors(kHigh, unit.x + b * kSubBlockLen, unit.w + b * kSubBlockLen, kSubBlockLen, scales, mins, errors);
    for (int c = 0; c < kCandidates; ++c) totals[c] += errors[c];
  }
  return units[std::min_element(totals, totals + kCandidates) - totals];
}

/// The best 6-bit pair of a sub-block: 4 x 4 neighbours of the wanted one, then of the best of those.
void search_pair(const float* x, const float* w, const AffineFit& wanted, const Units& units, uint8_t& scale,
                 uint8_t& minimum) {
  int best_scale = six_bits(wanted.scale, units.d);
  int best_minimum = six_bits(wanted.min, units.d_min);
  for (int pass = 0; pass < 2; ++pass) {
    int scale_steps[kCandidates];
    int min_steps[kCandidates];
    float scales[kCandidates];
    float mins[kCandidates];
    float errors[kCandidates];
    for (int c = 0; c < kCandidates; ++c) {
      scale_steps[c] = std::clamp(best_scale + c % 4 - 2 + pass, 0, 63);
      min_steps[c] = std::clamp(best_minimum + c / 4 - 2 + pass, 0, 63);
      scales[c] = units.d * static_cast<float>(scale_steps[c]);
      mins[c] = units.d_min * static_cast<float>(min_steps[c]);
    }
    affine_errors(kHigh, x, w, kSubBlockLen, scales, mins, errors);
    const auto best = std::min_element(errors, errors + kCandidates) - errors;
    best_scale = scale_steps[best];
    best_minimum = min_steps[best];
  }
  scale = static_cast<uint8_t>(best_scale);
  minimum = static_cast<uint8_t>(best_minimum);
}

}  // namespace

void Q4_K::objective(const float* x, const float* importance, float* w) {
  importance_objective(x, importance, kBlockLen, w);
}

Q4_K::Scales Q4_K::fit(const float* x, const float* w) {
  const UnitBlock unit(x, w, kBlockLen);
  AffineFit wanted[kSubBlocks];
  for (int b = 0; b < kSubBlocks; ++b) {
    wanted[b] = search_affine(kHigh, unit.x + b * kSubBlockLen, unit.w + b * kSubBlockLen, kSubBlockLen);
  }
  const Units units = search_units(unit, wanted);
  Scales scales = {unit.store(units.d), unit.store(units.d_min), {}, {}};
  for (int b = 0; b < kSubBlocks; ++b) {
    search_pair(unit.x + b * kSubBlockLen, unit.w + b * kSubBlockLen, wanted[b], units, scales.scale[b],
                scales.minimum[b]);
  }
  return scales;
}

uint32_t Q4_K::round(const float* x, const float*, const Scales& scales, int position, float* values) {
  const int b = position / kSubBlockLen;
  const float scale = to_float(scales.d) * static_cast<float>(scales.scale[b]);
  const float min = to_float(scales.d_min) * static_cast<float>(scales.minimum[b]);
  const int q = scale == 0.0f ? 0 : nearest_down((*x + min) / scale, 0, 15);
  *values = scale * static_cast<float>(q) - min;
  return static_cast<uint32_t>(q);
}

void Q4_K::refit(const float* x, const float* w, const uint32_t* codes, Scales& scales) {
  // For given codes and 6-bit integers the block is d * p - d_min * r: two unknowns, linear least squares.
  double pp = 0.0, pr = 0.0, rr = 0.0, xp = 0.0, xr = 0.0;
  for (int i = 0; i < kBlockLen; ++i) {
    const int b = i / kSubBlockLen;
    const double p = scales.scale[b] * static_cast<double>(codes[i]);
    const double r = scales.minimum[b];
    pp += w[i] * p * p;
    pr += w[i] * p * r;
    rr += w[i] * r * r;
    xp += double{w[i]} * x[i] * p;
    xr += double{w[i]} * x[i] * r;
  }
  const auto error = [&](Half d, Half d_min) {
    const double a = to_float(d);
    const double m = to_float(d_min);
    return a * (a * pp - 2.0 * xp) + m * (m * rr + 2.0 * (xr - a * pr));
  };
  const auto half = [](double value) { return finite_half(static_cast<float>(std::clamp(value, 0.0, 65504.0))); };
  const auto consider = [&](Half d, Half d_min) {
    if (error(d, d_min) < error(scales.d, scales.d_min)) {
      scales.d = d;
      scales.d_min = d_min;
    }
  };
  // Both units at once where the two are independent, then each alone.
  const double determinant = pp * rr - pr * pr;
  if (determinant > 0.0) consider(half((xp * rr - pr * xr) / determinant), half((pr * xp - pp * xr) / determinant));
  if (pp > 0.0) consider(half((xp + to_float(scales.d_min) * pr) / pp), scales.d_min);
  if (rr > 0.0) consider(scales.d, half((to_float(scales.d) * pr - xr) / rr));
}

void Q4_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  block.d_min = scales.d_min;
  for (int b = 0; b < kSubBlocks; ++b) {
    block.scales.set(b, scales.scale[b], scales.minimum[b]);
    for (int i = 0; i < kSubBlockLen; ++i) {
      block.codes[32 * (b / 2) + i] |= static_cast<uint8_t>(codes[kSubBlockLen * b + i] << (4 * (b % 2)));
    }
  }
}

constinit const Format kQ4_KFormat = make_format<Q4_K>();

}  // namespace steelyard

#include "formats/search/affine_search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {
namespace {

struct LaneSums {
  Floats q1 = {};
  Floats qq = {};
  Floats yq = {};
};

/// Sums over the values, each on its nearest level under the pair of its lane. `shift` is min + base.
STEELYARD_HD LaneSums rounded_sums(const AffineValues& values, float high, const Floats& scale, const Floats& shift) {
  const IntegerLevels levels = {0.0f, high};
  const Floats inverse = inverse_or_zero(scale);
  const Floats start = shift * inverse;
  LaneSums sums;
  for (int i = 0; i < values.n; ++i) {
    const Floats q = levels.nearest(values.y[i] * inverse + start);
    const Floats wq = values.w[i] * q;
    sums.q1 += wq;
    sums.qq += wq * q;
    sums.yq += wq * values.y[i];
  }
  return sums;
}

/// Error of the pairs for codes with these sums.
STEELYARD_HD Floats error_of(const AffineValues& values, const LaneSums& sums, const Floats& scale,
                             const Floats& shift) {
  return values.yy + scale * (scale * sums.qq - 2.0f * sums.yq) +
         shift * (shift * values.w1 + 2.0f * (values.y1 - scale * sums.q1));
}

/// One pass: as many results as candidates.
struct CandidateResults {
  Candidates q1, qq, yq, scales, shifts, errors;

  STEELYARD_HD void put(int c, const LaneSums& sums, const Floats& scale, const Floats& shift, const Floats& error) {
    q1.put(c, sums.q1);
    qq.put(c, sums.qq);
    yq.put(c, sums.yq);
    scales.put(c, scale);
    shifts.put(c, shift);
    errors.put(c, error);
  }
  STEELYARD_HD AffineResult result(int c, float base) const {
    return {{scales[c], shifts[c] - base}, errors[c], {q1[c], qq[c], yq[c]}};
  }
};

}  // namespace

STEELYARD_HD void AffineValues::set(const float* x, const float* weights, int count) {
  Floats lowest = {};
  for (int i = 0; i < count; i += kLanes) lowest = min(lowest, load(x + i));
  const float bottom = least(lowest);
  Floats top = {};
  LaneSum w_sum, y_sum, yy_sum;
  for (int i = 0; i < count; i += kLanes) {
    const Floats above = load(x + i) - bottom;
    const Floats weight = load(weights + i);
    store(above, y + i);
    top = max(top, above);
    w_sum.add(i, weight);
    y_sum.add(i, weight * above);
    yy_sum.add(i, weight * above * above);
  }
  const float peak = -least(-top), sum_w = w_sum.total(), sum_y = y_sum.total(), sum_yy = yy_sum.total();
  once([&] {
    w = weights;
    n = count;
    base = bottom;
    highest = peak;
    w1 = sum_w;
    y1 = sum_y;
    yy = sum_yy;
  });
}

STEELYARD_HD void improve_affine(const AffineValues& values, float high, const AffineCandidates& candidates,
                                 AffineResult& best) {
  CandidateResults results;
  for (int c = 0; c < kCandidates; c += kLanes) {
    const LaneSums sums = rounded_sums(values, high, candidates.scales.get(c), candidates.mins.get(c) + values.base);
    const Floats determinant = sums.qq * values.w1 - sums.q1 * sums.q1;
    const Floats inverse = 1.0f / determinant;
    const Floats free_shift = (sums.q1 * sums.yq - sums.qq * values.y1) * inverse;
    const Floats free_scale = (sums.yq * values.w1 - sums.q1 * values.y1) * inverse;
    // A minimum below zero cannot be stored. Then zero is best, and the scale has an equation of its own. Codes that
    // are all the same determine no pair, only noise.
    const Ints is_free = (determinant > 4e-6f * (sums.qq * values.w1)) & (free_shift > broadcast(values.base));
    const Floats shift = is_free ? free_shift : broadcast(values.base);
    const Floats scale = is_free ? free_scale : (sums.yq + values.base * sums.q1) / sums.qq;
    const Floats error = error_of(values, sums, scale, shift);
    // With few distinct codes, pairs that leave many levels unused fit as well. But their size would spoil the
    // super-block scales.
    const Ints is_used = (shift < scale * (0.5f + 0.08f * high)) & (values.highest + shift > scale * (0.6f * high));
    const Ints is_valid = is_used & (scale > Floats{}) & (error < broadcast(FLT_MAX));
    results.put(c, sums, scale, shift, is_valid ? error : broadcast(FLT_MAX));
  }
  const int c = argmin(results.errors);
  if (results.errors[c] < best.error) best = results.result(c, values.base);
}

STEELYARD_HD int best_affine(const AffineValues& values, float high, const AffineCandidates& candidates,
                             AffineResult& best) {
  CandidateResults results;
  for (int c = 0; c < kCandidates; c += kLanes) {
    const Floats scale = candidates.scales.get(c);
    const Floats shift = candidates.mins.get(c) + values.base;
    const LaneSums sums = rounded_sums(values, high, scale, shift);
    results.put(c, sums, scale, shift, error_of(values, sums, scale, shift));
  }
  const int c = argmin(results.errors);
  best = results.result(c, values.base);
  return c;
}

STEELYARD_HD AffineResult search_affine(const AffineValues& values, float high, AffineBudget budget) {
  // The search starts with all values on one level.
  const float shift = values.w1 > 0.0f ? std::max(values.base, -values.y1 / values.w1) : 0.0f;
  AffineResult best = {
      {0.0f, shift - values.base}, values.yy + shift * (shift * values.w1 + 2.0f * values.y1), {0.0f, 0.0f, 0.0f}};
  // Offsets of the 16 candidates of a pass: a square of 4 x 4.
  static constexpr float kAcross[kCandidates] = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
  static constexpr float kDown[kCandidates] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  AffineCandidates candidates;
  const auto put = [&](int c, const Floats& scale, const Floats& min) {
    candidates.scales.put(c, scale);
    candidates.mins.put(c, max(min, Floats{}));
  };
  // Ranges half a level wider than the values on either side, or up to one level narrower in each pass.
  const float level = values.highest / high;
  for (int pass = 0; pass < budget.coarse; ++pass) {
    const float first = -0.5f + static_cast<float>(pass);
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats below = first + 0.4f * load(kDown + c);
      const Floats above = first + 0.4f * load(kAcross + c);
      put(c, level * max(1.0f - (below + above) / high, broadcast(0.1f)), -level * below - values.base);
    }
    improve_affine(values, high, candidates, best);
  }
  // Then closer and closer around the best pair so far. The offsets of the lowest and the highest level are in levels,
  // too.
  float width = 0.5f;
  for (int pass = 0; pass < budget.fine; ++pass, width *= 0.6f) {
    const AffineFit centre = best.fit;
    for (int c = 0; c < kCandidates; c += kLanes) {
      const Floats wider = 2.0f * width * (load(kAcross + c) - 1.5f);
      const Floats lower = width * (load(kDown + c) - 1.5f);
      put(c, centre.scale * (1.0f + wider / high), centre.min + centre.scale * lower);
    }
    improve_affine(values, high, candidates, best);
  }
  return best;
}

STEELYARD_HD AffineFit search_affine(float high, const float* x, const float* w, int n, Effort effort) {
  // A pair that is stored as it is needs no search for super-block scales, so kFast can afford a pass around the best
  // pair, too. Without it, weights that lie on another grid, as in a file that was quantized before, would lose it.
  Common<AffineValues> values(x, w, n);
  return search_affine(*values, high, affine_budget(std::max(effort, Effort::kNormal))).fit;
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET

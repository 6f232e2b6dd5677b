#include "formats/search/search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {
namespace {

/// The power of two that brings `max` into [0.5, 1); 0 for 0.
STEELYARD_HD int exponent_of(float max) {
  int exponent = 0;
  if (max > 0.0f) std::frexp(max, &exponent);
  return exponent;
}

/// value * power; in double, since 2^148 (which a subnormal block needs) is not a float. Exact unless the result is a
/// subnormal float.
/// subnormal float.
STEELYARD_HD float scaled(float value, double power) { return static_cast<float>(static_cast<double>(value) * power); }

/// Two factors of 2^exponent, which itself may not be a float.
struct PowerOfTwo {
  STEELYARD_HD explicit PowerOfTwo(int exponent)
      : first(std::ldexp(1.0f, exponent / 2)), second(std::ldexp(1.0f, exponent - exponent / 2)) {}
  STEELYARD_HD Floats times(const Floats& values) const { return values * first * second; }
  float first, second;
};

STEELYARD_HD float largest_of(const float* values, int n, const float* w) {
  Floats largest_so_far = {};
  for (int i = 0; i < n; i += kLanes) {
    const Floats value = load(values + i);
    const Floats size = max(value, -value);
    largest_so_far = max(largest_so_far, load(w + i) > Floats{} ? size : Floats{});
  }
  return -least(-largest_so_far);
}

/// The largest magnitude.
STEELYARD_HD float largest_of(const float* values, int n) {
  Floats sizes = {};
  for (int i = 0; i < n; i += kLanes) sizes = max(sizes, max(load(values + i), -load(values + i)));
  return -least(-sizes);
}

}  // namespace

STEELYARD_HD void importance_objective(const float* x, const float* importance, int n, float* w) {
  // Powers of two bring both near 1, so that no sum overflows and the scale of neither matters.
  const PowerOfTwo x_power(-exponent_of(largest_of(x, n)));
  const PowerOfTwo importance_power(importance != nullptr ? -exponent_of(largest_of(importance, n)) : 0);
  LaneSum squares, importances;
  for (int i = 0; i < n; i += kLanes) {
    const Floats value = x_power.times(load(x + i));
    squares.add(i, value * value);
    if (importance != nullptr) importances.add(i, importance_power.times(load(importance + i)));
  }
  const float spread = 2.0f * squares.total() / static_cast<float>(n);
  const float mean_importance = importances.total() / static_cast<float>(n);
  for (int i = 0; i < n; i += kLanes) {
    const Floats value = x_power.times(load(x + i));
    const Floats size = square_root(square_root(value * value + spread));
    store(mean_importance > 0.0f
              ? (importance_power.times(load(importance + i)) * (1.0f / mean_importance) + kWeightFloor) * size
              : size,
          w + i);
  }
}

STEELYARD_HD NormalizedBlock::NormalizedBlock(const float* block_x, const float* block_w, int n) {
  using simd::load, simd::store;  // not the members
  const float max_w = largest_of(block_w, n, block_w);
  const PowerOfTwo w_power(-exponent_of(max_w));
  for (int i = 0; i < n; i += kLanes) store(max_w > 0.0f ? w_power.times(load(block_w + i)) : broadcast(1.0f), w + i);
  const int exponent = exponent_of(largest_of(block_x, n, w));
  const PowerOfTwo x_power(-exponent);
  for (int i = 0; i < n; i += kLanes) {
    store(load(w + i) > Floats{} ? x_power.times(load(block_x + i)) : Floats{}, x + i);
  }
  power = std::ldexp(1.0, exponent);
}

STEELYARD_HD Half NormalizedBlock::store(float d) const { return finite_half(scaled(d, power)); }

STEELYARD_HD float NormalizedBlock::load(Half d) const { return scaled(to_float(d), 1.0 / power); }

STEELYARD_HD Half refit_scale(const ScaleSums& sums, Half d) {
  // Clamping first keeps the conversion to float within range.
  const double best = std::clamp(sums.best_scale(), -65504.0, 65504.0);
  const Half candidate = finite_half(static_cast<float>(best));
  return sums.error(to_float(candidate)) < sums.error(to_float(d)) ? candidate : d;
}

STEELYARD_HD void round_values(const float* x, int n, float scale, float minimum, int low, int high, uint32_t* codes) {
  const auto lowest = static_cast<float>(low);
  const auto highest = static_cast<float>(high);
  for (int i = 0; i < n; i += kLanes) {
    const Floats t = scale == 0.0f ? Floats{} : (load(x + i) + minimum) / scale;
    const Floats inside = clamp(t, lowest, highest);
    const Floats nearest = nearest_integer(inside);
    // The difference is exact, so a half is recognized as one.
    const Floats down = nearest - inside == broadcast(0.5f) ? nearest - 1.0f : nearest;
    store(to_codes(down - lowest), codes + i);
  }
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET

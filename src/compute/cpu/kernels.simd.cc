// Compiled once per target (cmake/simd.cmake); STEELYARD_TARGET names the namespace. No standard containers and no
// shared inline functions here.
#include "compute/cpu/kernels.h"

#include "compute/cpu/exponential.h"
#include "compute/cpu/verbs.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {
namespace {

// Sums go over 16 lanes with every target: the same bits everywhere.
constexpr int kSumLanes = 16;

float dot(const float* a, const float* b, int64_t n) {
  Floats16 even = broadcast16(0), odd = broadcast16(0);
  int64_t i = 0;
  for (; i + 2 * kSumLanes <= n; i += 2 * kSumLanes) {
    even = even + load16(a + i) * load16(b + i);
    odd = odd + load16(a + i + kSumLanes) * load16(b + i + kSumLanes);
  }
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return sum(even + odd) + rest;
}

float largest(const float* x, int64_t n) {
  float most = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    Floats lanes = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) lanes = max(load(x + i), lanes);
    most = simd::largest(lanes);
  }
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

float exponentials(float* x, int64_t n, float max) {
  Floats16 sums = broadcast16(0);
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    const Floats16 e =
        each_part<Floats16>([&](int p) { return exp_nonpositive<Floats, Words>(load(x + i + p * kLanes) - max); });
    store(e, x + i);
    sums = sums + e;
  }
  float rest = 0;
  for (; i < n; ++i) rest += x[i] = exp_nonpositive<float, unsigned>(x[i] - max);
  return sum(sums) + rest;
}

void scale(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// The derivatives of an activation with respect to gate and up.
template <typename F>
struct Slopes {
  F gate, up;
};

struct Swiglu {
  template <typename F, typename U>
  static F apply(F g, F u) {
    return times_sigmoid<F, U>(g, g) * u;
  }
  template <typename F, typename U>
  static Slopes<F> slopes(F g, F u) {
    const F s = times_sigmoid<F, U>(F{} + 1.0f, g);
    return {u * s * (1.0f + g * (1.0f - s)), g * s};
  }
};

struct Geglu {
  template <typename F, typename U>
  static F apply(F g, F u) {  // (1 + tanh(y)) / 2 = 1 / (1 + e^-2y)
    const F y2 = 1.59576912f * (g + 0.044715f * g * g * g);
    return times_sigmoid<F, U>(g, y2) * u;
  }
  template <typename F, typename U>
  static Slopes<F> slopes(F g, F u) {
    const F s = times_sigmoid<F, U>(F{} + 1.0f, 1.59576912f * (g + 0.044715f * g * g * g));
    return {u * s * (1.0f + g * (1.0f - s) * (1.59576912f + 0.21406777f * g * g)), g * s};
  }
};

struct ClampedSwiglu {
  template <typename F, typename U>
  static F apply(F g, F u) {
    const F seven = F{} + 7.0f;
    g = g > seven ? seven : g;
    u = u > seven ? seven : u < -seven ? -seven : u;
    return times_sigmoid<F, U>(g, 1.702f * g) * (u + 1.0f);
  }
  template <typename F, typename U>
  static Slopes<F> slopes(F g, F u) {
    const F seven = F{} + 7.0f, none = F{};
    const F z = g > seven ? seven : g, v = u > seven ? seven : u < -seven ? -seven : u;
    const F s = times_sigmoid<F, U>(F{} + 1.0f, 1.702f * z);
    const F slope = (v + 1.0f) * s * (1.0f + 1.702f * z * (1.0f - s)), other = z * s;
    return {g < seven ? slope : none, u < seven ? (u > -seven ? other : none) : none};
  }
};

template <typename Activation>
void gated(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(Activation::template apply<Floats, Words>(load(gate + i), load(up + i)), gate + i);
  }
  for (; i < n; ++i) gate[i] = Activation::template apply<float, unsigned>(gate[i], up[i]);
}

template <typename Activation>
void gated_backward(const float* gate, const float* up, float* d, float* dup, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto slopes = Activation::template slopes<Floats, Words>(load(gate + i), load(up + i));
    const Floats dout = load(d + i);
    store(load(dup + i) + dout * slopes.up, dup + i);
    store(dout * slopes.gate, d + i);
  }
  for (; i < n; ++i) {
    const auto slopes = Activation::template slopes<float, unsigned>(gate[i], up[i]);
    dup[i] += d[i] * slopes.up;
    d[i] *= slopes.gate;
  }
}

void add_squares(const float* x, double* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
}

void add_scaled(const float* x, float factor, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] += factor * x[i];
}

}  // namespace

extern const Kernels kKernels = {STEELYARD_STRING(STEELYARD_TARGET),
                                 dot,
                                 largest,
                                 exponentials,
                                 scale,
                                 gated<Swiglu>,
                                 gated<Geglu>,
                                 gated<ClampedSwiglu>,
                                 gated_backward<Swiglu>,
                                 gated_backward<Geglu>,
                                 gated_backward<ClampedSwiglu>,
                                 add_squares,
                                 add_scaled};

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET

// Compiled once per instruction set (cmake/isa.cmake); STEELYARD_ISA names the namespace. No standard containers and no
// shared inline functions here.
#include "compute/cpu/kernels.h"

#include "compute/cpu/exponential.h"
#include "compute/cpu/simd.h"
#include "formats/isa.h"

namespace steelyard::cpu::STEELYARD_ISA {
namespace {

// Sums go over 16 lanes in every instruction set, as many vectors as that takes: the same bits everywhere. (One vector
// of 16 would do for arithmetic, but GCC takes comparisons of vectors wider than the registers apart, value by value.)
constexpr int kLanes = 16, kParts = kLanes / kWidth;
using Unsigned = unsigned [[gnu::vector_size(4 * kWidth)]];

struct Lanes {
  Floats parts[kParts] = {};
};

// Lane 0 + lane 8, then halves again: the same order everywhere.
inline float sum(const Lanes& v) {
  float lanes[kLanes];
  for (int p = 0; p < kParts; ++p) store(lanes + p * kWidth, v.parts[p]);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

float dot(const float* a, const float* b, int64_t n) {
  Lanes even, odd;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    for (int p = 0; p < kParts; ++p) {
      const int64_t at = i + p * kWidth;
      even.parts[p] += load(a + at) * load(b + at);
      odd.parts[p] += load(a + at + kLanes) * load(b + at + kLanes);
    }
  }
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  for (int p = 0; p < kParts; ++p) even.parts[p] += odd.parts[p];
  return sum(even) + rest;
}

float largest(const float* x, int64_t n) {
  float max = x[0];
  int64_t i = 0;
  if (n >= kWidth) {
    Floats lanes = load(x);
    for (i = kWidth; i + kWidth <= n; i += kWidth) {
      const Floats v = load(x + i);
      lanes = v > lanes ? v : lanes;
    }
    for (int l = 0; l < kWidth; ++l) max = lanes[l] > max ? lanes[l] : max;
  }
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

float exponentials(float* x, int64_t n, float max) {
  Lanes sums;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int p = 0; p < kParts; ++p) {
      float* const at = x + i + p * kWidth;
      const Floats e = exp_nonpositive<Floats, Unsigned>(load(at) - max);
      store(at, e);
      sums.parts[p] += e;
    }
  }
  float rest = 0;
  for (; i < n; ++i) rest += x[i] = exp_nonpositive<float, unsigned>(x[i] - max);
  return sum(sums) + rest;
}

void scale(float* x, int64_t n, float factor) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

struct Swiglu {
  template <typename F, typename U>
  static F apply(F g, F u) {
    return times_sigmoid<F, U>(g, g) * u;
  }
};

struct Geglu {
  template <typename F, typename U>
  static F apply(F g, F u) {  // (1 + tanh(y)) / 2 = 1 / (1 + e^-2y)
    const F y2 = 1.59576912f * (g + 0.044715f * g * g * g);
    return times_sigmoid<F, U>(g, y2) * u;
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
};

template <typename Activation>
void gated(float* gate, const float* up, int64_t n) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    store(gate + i, Activation::template apply<Floats, Unsigned>(load(gate + i), load(up + i)));
  }
  for (; i < n; ++i) gate[i] = Activation::template apply<float, unsigned>(gate[i], up[i]);
}

void add_squares(const float* x, double* sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
}

void add_scaled(const float* x, float factor, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] += factor * x[i];
}

}  // namespace

extern const Kernels kKernels = {STEELYARD_STRING(STEELYARD_ISA),
                                 dot,
                                 largest,
                                 exponentials,
                                 scale,
                                 gated<Swiglu>,
                                 gated<Geglu>,
                                 gated<ClampedSwiglu>,
                                 add_squares,
                                 add_scaled};

}  // namespace steelyard::cpu::STEELYARD_ISA

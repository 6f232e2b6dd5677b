// Compiled once per instruction set (cmake/isa.cmake); STEELYARD_ISA names the namespace. No standard containers and no
// shared inline functions here.
#include "compute/cpu/kernels.h"

#include "compute/cpu/exponential.h"
#include "formats/isa.h"

namespace steelyard::cpu::STEELYARD_ISA {
namespace {

constexpr int kLanes = 16;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));
typedef unsigned UnsignedLanes __attribute__((vector_size(kLanes * sizeof(unsigned))));

inline Lanes load(const float* p) { return *reinterpret_cast<const Lanes*>(p); }
inline void store(float* p, Lanes v) { *reinterpret_cast<Lanes*>(p) = v; }

// Lane 0 + lane 8, then halves again: the same order everywhere.
inline float sum(Lanes v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

inline float exp_one(float x) { return exp_nonpositive<float, unsigned>(x); }
inline Lanes exp_lanes(Lanes x) { return exp_nonpositive<Lanes, UnsignedLanes>(x); }

float dot(const float* a, const float* b, int64_t n) {
  Lanes acc0 = {}, acc1 = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    acc0 += load(a + i) * load(b + i);
    acc1 += load(a + i + kLanes) * load(b + i + kLanes);
  }
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return sum(acc0 + acc1) + rest;
}

float largest(const float* x, int64_t n) {
  float max = x[0];
  int64_t i = 0;
  if (n >= kLanes) {
    Lanes lanes = load(x);
    for (i = kLanes; i + kLanes <= n; i += kLanes) {
      const Lanes v = load(x + i);
      lanes = v > lanes ? v : lanes;
    }
    for (int l = 0; l < kLanes; ++l) max = lanes[l] > max ? lanes[l] : max;
  }
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

float exponentials(float* x, int64_t n, float max) {
  Lanes acc = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Lanes e = exp_lanes(load(x + i) - max);
    store(x + i, e);
    acc += e;
  }
  float rest = 0;
  for (; i < n; ++i) rest += x[i] = exp_one(x[i] - max);
  return sum(acc) + rest;
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
  for (; i + kLanes <= n; i += kLanes) {
    store(gate + i, Activation::template apply<Lanes, UnsignedLanes>(load(gate + i), load(up + i)));
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

// Compiled once per instruction set (cmake/isa.cmake); STEELYARD_ISA names the namespace. No standard containers and no
// shared inline functions here.
#include "compute/cpu/kernels.h"

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

// e^x for x <= 0 (anything below -87 gives 0): x = n ln2 + r, |r| <= ln2 / 2, e^r by its Taylor polynomial of degree 7
// (relative error below 1e-7), 2^n by the exponent bits. Works on vectors and on one value. U is unsigned, because far
// below -87 the exponent wraps around.
template <typename F, typename U>
inline F exp_nonpositive(F x) {
  const F magic = F{} + 12582912.0f;  // 1.5 * 2^23: adding it leaves the rounded integer in the low mantissa bits
  const F shifted = x * 1.44269504f + magic;
  const F n = shifted - magic;
  const F r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln2 in two parts
  F p = r * (1.0f / 5040) + (1.0f / 720);
  p = p * r + (1.0f / 120);
  p = p * r + (1.0f / 24);
  p = p * r + (1.0f / 6);
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  U bits;
  __builtin_memcpy(&bits, &shifted, sizeof(bits));
  const U exponent = (bits - 0x4B400000 + 127) << 23;
  F power;
  __builtin_memcpy(&power, &exponent, sizeof(power));
  return x < -87.0f ? F{} : p * power;
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

float softmax_numerators(float* x, int64_t n, float scale) {
  float max = x[0] * scale;
  for (int64_t i = 0; i < n; ++i) {
    x[i] *= scale;
    max = x[i] > max ? x[i] : max;
  }
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

// z / (1 + e^-u), for any u without overflow: with a = e^-|u| that is z / (1 + a) for u >= 0 and z a / (1 + a) below.
template <typename F, typename U>
inline F times_sigmoid(F z, F u) {
  const F negative = u < 0.0f ? u : -u;
  const F a = exp_nonpositive<F, U>(negative);
  return (u < 0.0f ? z * a : z) / (1.0f + a);
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
                                 softmax_numerators,
                                 scale,
                                 gated<Swiglu>,
                                 gated<Geglu>,
                                 gated<ClampedSwiglu>,
                                 add_squares,
                                 add_scaled};

}  // namespace steelyard::cpu::STEELYARD_ISA

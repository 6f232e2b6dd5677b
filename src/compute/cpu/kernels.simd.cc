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

// Vectors of a row, then its last values one by one.
template <typename Body>
inline void each(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body.template operator()<Floats, Words>(i);
  for (; i < n; ++i) body.template operator()<float, unsigned>(i);
}
template <typename F>
inline F get(const float* p) {
  F value;
  __builtin_memcpy(&value, p, sizeof(value));
  return value;
}
template <typename F>
inline void put(const F& value, float* p) {
  __builtin_memcpy(p, &value, sizeof(value));
}

void softcap(float* x, int64_t n, float cap) {
  each(n, [&]<typename F, typename U>(int64_t i) { put<F>(cap * tanh<F, U>(get<F>(x + i) / cap), x + i); });
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

struct LimitedSwiglu {
  float limit, up_limit;

  template <typename F, typename U>
  F apply(F g, F u) const {
    const F l = F{} + limit, z = g > l ? l : g;
    return times_sigmoid<F, U>(z, z) * (u > l ? l : u < -l ? -l : u);
  }
  template <typename F, typename U>
  Slopes<F> slopes(F g, F u) const {
    const F l = F{} + limit, none = F{}, z = g > l ? l : g;
    const Slopes<F> free = Swiglu::slopes<F, U>(z, u > l ? l : u < -l ? -l : u);
    return {g < l ? free.gate : none, u < l ? (u > -l ? free.up : none) : none};
  }
};

struct CappedSwiglu {
  float limit, up_limit;

  template <typename F, typename U>
  F apply(F g, F u) const {
    const F l = F{} + limit, silu = times_sigmoid<F, U>(g, g);
    return (silu > l ? l : silu) * (u > l ? l : u < -l ? -l : u);
  }
  template <typename F, typename U>
  Slopes<F> slopes(F g, F u) const {
    const F l = F{} + limit, none = F{};
    const Slopes<F> free = Swiglu::slopes<F, U>(g, u > l ? l : u < -l ? -l : u);
    const F silu = free.up > l ? l : free.up;
    return {free.up < l ? free.gate : none, u < l ? (u > -l ? silu : none) : none};
  }
};

struct Situ {
  float limit, up_limit;

  template <typename F, typename U>
  F apply(F g, F u) const {
    const F gate = times_sigmoid<F, U>(limit * tanh<F, U>(g / limit), g);
    return gate * (up_limit > 0 ? up_limit * tanh<F, U>(u / up_limit) : u);
  }
  template <typename F, typename U>
  Slopes<F> slopes(F g, F u) const {
    const F t = tanh<F, U>(g / limit), s = times_sigmoid<F, U>(F{} + 1.0f, g);
    const F v = up_limit > 0 ? tanh<F, U>(u / up_limit) : F{}, value = up_limit > 0 ? up_limit * v : u;
    return {value * s * (1.0f - t * t + limit * t * (1.0f - s)), limit * t * s * (1.0f - v * v)};
  }
};

struct Product {
  float limit, up_limit;

  template <typename F, typename U>
  F apply(F g, F u) const {
    return g * u;
  }
  template <typename F, typename U>
  Slopes<F> slopes(F g, F u) const {
    return {u, g};
  }
};

template <typename Activation>
void apply(const Activation& activation, float* gate, const float* up, int64_t n) {
  each(n, [&]<typename F, typename U>(int64_t i) {
    put<F>(activation.template apply<F, U>(get<F>(gate + i), get<F>(up + i)), gate + i);
  });
}
template <typename Activation>
void apply_backward(const Activation& activation, const float* gate, const float* up, float* d, float* dup, int64_t n) {
  each(n, [&]<typename F, typename U>(int64_t i) {
    const auto slopes = activation.template slopes<F, U>(get<F>(gate + i), get<F>(up + i));
    const F dout = get<F>(d + i);
    put<F>(get<F>(dup + i) + dout * slopes.up, dup + i);
    put<F>(dout * slopes.gate, d + i);
  });
}

template <typename Activation>
void gated(float* gate, const float* up, int64_t n) {
  apply(Activation{}, gate, up, n);
}
template <typename Activation>
void gated_backward(const float* gate, const float* up, float* d, float* dup, int64_t n) {
  apply_backward(Activation{}, gate, up, d, dup, n);
}

template <typename Activation>
constexpr LimitedKernels kLimited = {
    [](float* gate, const float* up, int64_t n, float limit, float up_limit) {
      apply(Activation{limit, up_limit}, gate, up, n);
    },
    [](const float* gate, const float* up, float* d, float* dup, int64_t n, float limit, float up_limit) {
      apply_backward(Activation{limit, up_limit}, gate, up, d, dup, n);
    }};

constexpr LimitedKernels kReluSquared = {
    [](float* gate, const float*, int64_t n, float, float) {
      for (int64_t i = 0; i < n; ++i) {
        const float z = gate[i] < 0 ? 0 : gate[i];
        gate[i] = z * z;
      }
    },
    [](const float* gate, const float*, float* d, float*, int64_t n, float, float) {
      for (int64_t i = 0; i < n; ++i) d[i] *= 2.0f * (gate[i] < 0 ? 0 : gate[i]);
    }};

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
                                 softcap,
                                 gated<Swiglu>,
                                 gated<Geglu>,
                                 gated<ClampedSwiglu>,
                                 gated_backward<Swiglu>,
                                 gated_backward<Geglu>,
                                 gated_backward<ClampedSwiglu>,
                                 kLimited<LimitedSwiglu>,
                                 kLimited<CappedSwiglu>,
                                 kLimited<Situ>,
                                 kReluSquared,
                                 kLimited<Product>,
                                 add_squares,
                                 add_scaled};

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET

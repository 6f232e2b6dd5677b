// Integer, float and atomic intrinsics of CUDA, as its C++ Programming Guide and Math API define them. Approximate
// functions of the device are exact here, so tests compare them within tolerances.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cuda_emulator/engine.h"

// ---- integers and bits

inline int __dp4a(int a, int b, int c) {
  auto sum = uint32_t(c);
  for (int i = 0; i < 32; i += 8) sum += uint32_t(int8_t(a >> i) * int8_t(b >> i));
  return int(sum);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
  return c;
}
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(unsigned(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline unsigned __brev(unsigned v) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (v >> i & 1) << (31 - i);
  return reversed;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = uint64_t(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= unsigned(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
  return result;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
  return unsigned((uint64_t(high) << 32 | low) >> (n & 31));
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
  return unsigned(((uint64_t(high) << 32 | low) << (n & 31)) >> 32);
}
inline unsigned __vsub4(unsigned a, unsigned b) {
  unsigned result = 0;
  for (int i = 0; i < 32; i += 8) result |= (((a >> i) - (b >> i)) & 255) << i;
  return result;
}
inline unsigned __vadd4(unsigned a, unsigned b) {
  unsigned result = 0;
  for (int i = 0; i < 32; i += 8) result |= (((a >> i) + (b >> i)) & 255) << i;
  return result;
}

// ---- floats

inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline float rsqrtf(float x) { return float(1.0 / std::sqrt(double(x))); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __saturatef(float a) { return a < 0 ? 0.0f : a > 1 ? 1.0f : a == a ? a : 0.0f; }
inline int __float2int_rn(float f) {
  if (f != f) return 0;
  if (f >= 0x1p31f) return std::numeric_limits<int>::max();
  return f <= -0x1p31f ? std::numeric_limits<int>::min() : int(std::nearbyint(f));
}
// Macros, because the C library owns the plain names.
#define __expf(x) ::std::exp(float(x))
#define __logf(x) ::std::log(float(x))

// ---- atomics

namespace steelyard::cuda_emulator {

/// *p = f(*p) for values of any type, through the unsigned integer Bits of its size; returns the old value.
template <class T, class F>
T atomic_update(T* p, F f) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint16_t>>;
  preempt_point();
  auto* bits = reinterpret_cast<Bits*>(p);
  Bits old = __atomic_load_n(bits, __ATOMIC_RELAXED), next;
  do {
    next = std::bit_cast<Bits>(T(f(std::bit_cast<T>(old))));
  } while (!__atomic_compare_exchange_n(bits, &old, next, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return std::bit_cast<T>(old);
}

}  // namespace steelyard::cuda_emulator

template <class T>
T atomicAdd(T* p, std::type_identity_t<T> v) {
  return ::steelyard::cuda_emulator::atomic_update(p, [v](T old) {
    if constexpr (std::is_integral_v<T>)
      return T(std::make_unsigned_t<T>(old) + std::make_unsigned_t<T>(v));
    else
      return old + v;
  });
}
template <class T>
T atomicMax(T* p, std::type_identity_t<T> v) {
  return ::steelyard::cuda_emulator::atomic_update(p, [v](T old) { return old < v ? v : old; });
}
template <class T>
T atomicMin(T* p, std::type_identity_t<T> v) {
  return ::steelyard::cuda_emulator::atomic_update(p, [v](T old) { return v < old ? v : old; });
}
template <class T>
T atomicExch(T* p, std::type_identity_t<T> v) {
  return ::steelyard::cuda_emulator::atomic_update(p, [v](T) { return v; });
}
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  return ::steelyard::cuda_emulator::atomic_update(p, [=](T old) { return old == expected ? v : old; });
}

// CUDA's vector types: the same size, alignment and member names, so that the undefined-behaviour sanitizer reports
// what would be a misaligned address on the device.
#pragma once

#include <cstddef>
#include <cstdint>

#define CUDA_EMULATOR_VECTOR2(T, N, A) \
  struct alignas(A) N {                \
    T x, y;                            \
  };                                   \
  inline N make_##N(T x, T y) { return N{x, y}; }
#define CUDA_EMULATOR_VECTOR3(T, N) \
  struct N {                        \
    T x, y, z;                      \
  };                                \
  inline N make_##N(T x, T y, T z) { return N{x, y, z}; }
#define CUDA_EMULATOR_VECTOR4(T, N, A) \
  struct alignas(A) N {                \
    T x, y, z, w;                      \
  };                                   \
  inline N make_##N(T x, T y, T z, T w) { return N{x, y, z, w}; }
CUDA_EMULATOR_VECTOR2(signed char, char2, 2)
CUDA_EMULATOR_VECTOR4(signed char, char4, 4)
CUDA_EMULATOR_VECTOR2(unsigned char, uchar2, 2)
CUDA_EMULATOR_VECTOR4(unsigned char, uchar4, 4)
CUDA_EMULATOR_VECTOR2(int, int2, 8)
CUDA_EMULATOR_VECTOR4(int, int4, 16)
CUDA_EMULATOR_VECTOR2(unsigned, uint2, 8)
CUDA_EMULATOR_VECTOR3(unsigned, uint3)
CUDA_EMULATOR_VECTOR4(unsigned, uint4, 16)
CUDA_EMULATOR_VECTOR2(float, float2, 8)
CUDA_EMULATOR_VECTOR4(float, float4, 16)
CUDA_EMULATOR_VECTOR2(double, double2, 16)
#undef CUDA_EMULATOR_VECTOR2
#undef CUDA_EMULATOR_VECTOR3
#undef CUDA_EMULATOR_VECTOR4

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

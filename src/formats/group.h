// The common view of every quantized GGUF type: groups of 16 int8 codes with one scale and one minimum.
//
// N formats x M kernels becomes N unpackers + M kernels: the same unpack serves dequantization, matmul and tests.
#pragma once

#include <cstdint>

#include "simd/host_device.h"

namespace steelyard::formats {

inline constexpr int kGroupLen = 16;

/// w[i] = scale * q[i] - min, evaluated as one multiplication and one subtraction, each rounded to float (no FMA):
/// that is bit-exact to ggml's decoders.
struct Group {
  int8_t q[kGroupLen];
  float scale;
  float min;
};

}  // namespace steelyard::formats

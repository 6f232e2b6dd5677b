// Reads values from any address.
#pragma once

#include <cstring>

#include "simd/host_device.h"
#include "simd/this_target.h"

namespace steelyard::simd::inline STEELYARD_TARGET {

/// sizeof(T) bytes at any address.
template <class T>
STEELYARD_HD T read(const void* p) {
  T value;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET

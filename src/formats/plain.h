// The encoder steps shared by plain floating-point types (F32, F16, BF16): there are no scales to fit, and the code of
// a value is its bits. Their traits structs derive from this and add round and pack.
#pragma once

#include <cstdint>

#include "simd/this_target.h"

namespace steelyard::inline STEELYARD_TARGET {

struct PlainSteps {
  static constexpr int kJoint = 1;
  struct Scales {};
  static void objective(const float*, const float*, float* w) { *w = 1.0f; }
  static Scales fit(const float*, const float*, Effort) { return {}; }
  static void refit(const float*, const float*, const uint32_t*, Scales&) {}
};

}  // namespace steelyard::inline STEELYARD_TARGET

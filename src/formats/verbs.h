// The vocabulary of simd/simd.h without its folder. Encoders and unpacking are made of these verbs: they read as
// formulas only when the verbs are short. Included by what is compiled once per target.
#pragma once

#include "simd/simd.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

using namespace simd;

}  // namespace steelyard::formats::inline STEELYARD_TARGET

// The vocabulary of simd/simd.h without its folder. The inner loops are made of these verbs: they read as formulas only
// when the verbs are short. Included by what is compiled once per target.
#pragma once

#include "simd/simd.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {

using namespace simd;

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET

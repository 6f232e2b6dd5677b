#include "formats/f32.h"

#include <bit>

namespace steelyard::inline STEELYARD_TARGET {

uint32_t F32::round(const float* x, const float*, const Scales&, int, float* values) {
  *values = *x;
  return std::bit_cast<uint32_t>(*x);
}

void F32::pack(const Scales&, const uint32_t* codes, Block& block) { block.value = std::bit_cast<float>(*codes); }

constinit const Format kF32Format = make_format<F32>();

}  // namespace steelyard::inline STEELYARD_TARGET

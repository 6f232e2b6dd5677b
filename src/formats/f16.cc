#include "formats/f16.h"

#include "formats/search/search.h"

namespace steelyard::inline STEELYARD_TARGET {

uint32_t F16::round(const float* x, const float*, const Scales&, int, float* values) {
  const Half rounded = finite_half(*x);
  *values = to_float(rounded);
  return rounded.bits;
}

void F16::pack(const Scales&, const uint32_t* codes, Block& block) { block.half = {static_cast<uint16_t>(*codes)}; }

constinit const Format kF16Format = make_format<F16>();

}  // namespace steelyard::inline STEELYARD_TARGET

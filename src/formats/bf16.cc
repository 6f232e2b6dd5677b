#include "formats/bf16.h"

#include <algorithm>

namespace steelyard::inline STEELYARD_TARGET {

uint32_t BF16::round(const float* x, const float*, const Scales&, int, float* values) {
  // The largest floats would round to infinity; the largest bfloat16 is the nearest finite value.
  constexpr float kMax = 0x1.FEp127f;
  const BFloat16 rounded = to_bfloat16(std::clamp(*x, -kMax, kMax));
  *values = to_float(rounded);
  return rounded.bits;
}

void BF16::pack(const Scales&, const uint32_t* codes, Block& block) { block.bfloat = {static_cast<uint16_t>(*codes)}; }

constinit const Format kBF16Format = make_format<BF16>();

}  // namespace steelyard::inline STEELYARD_TARGET

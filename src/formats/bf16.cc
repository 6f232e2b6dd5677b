#include "formats/bf16.h"

#include <algorithm>

namespace steelyard::formats::inline STEELYARD_TARGET {

BF16::Block BF16::encode(float value) {
  // The largest floats would round to infinity; the largest bfloat16 is the nearest finite value.
  constexpr float kMax = 0x1.FEp127f;
  return {to_bfloat16(std::clamp(value, -kMax, kMax))};
}

constinit const Format kBF16Format = make_format<BF16>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

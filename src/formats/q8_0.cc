#include "formats/q8_0.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q8_0::objective(const float*, const float*, float* w) {
  for (int i = 0; i < kBlockLen; i += kLanes) store(broadcast(1.0f), w + i);
}

STEELYARD_HD void Q8_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < kBlockLen; ++i) block.codes[i] = static_cast<int8_t>(static_cast<int>(codes[i]) - 127);
}

constinit const Format kQ8_0Format = make_format<Q8_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

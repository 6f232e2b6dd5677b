#include "formats/q4_0.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q4_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

constinit const Format kQ4_0Format = make_format<Q4_0>();

}  // namespace steelyard::inline STEELYARD_TARGET

#include "formats/q4_k.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q4_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {scales.d, scales.d_min, KScales::of(scales.scale, scales.minimum), {}};
  for (int h = 0; h < 4; ++h, codes += 64) {
    for (int j = 0; j < 32; ++j) block.codes[32 * h + j] = static_cast<uint8_t>(codes[j] | codes[32 + j] << 4);
  }
}

constinit const Format kQ4_KFormat = make_format<Q4_K>();

}  // namespace steelyard::inline STEELYARD_TARGET

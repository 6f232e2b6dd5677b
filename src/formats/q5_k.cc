#include "formats/q5_k.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q5_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {scales.d, scales.d_min, KScales::of(scales.scale, scales.minimum), {}, {}};
  for (int h = 0; h < 4; ++h, codes += 64) {
    for (int j = 0; j < 32; ++j) {
      const uint32_t first = codes[j];
      const uint32_t second = codes[32 + j];
      block.low[32 * h + j] = static_cast<uint8_t>((first & 15) | (second & 15) << 4);
      block.high[j] |= static_cast<uint8_t>((first >> 4 | (second >> 4) << 1) << (2 * h));
    }
  }
}

constinit const Format kQ5_KFormat = make_format<Q5_K>();

}  // namespace steelyard::inline STEELYARD_TARGET

#include "formats/q2_k.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q2_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  block.dmin = scales.d_min;
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b] = static_cast<uint8_t>(scales.scale[b] | scales.minimum[b] << 4);
  for (int h = 0; h < 2; ++h, codes += 128) {
    for (int j = 0; j < 32; ++j) {
      block.codes[32 * h + j] =
          static_cast<uint8_t>(codes[j] | codes[32 + j] << 2 | codes[64 + j] << 4 | codes[96 + j] << 6);
    }
  }
}

constinit const Format kQ2_KFormat = make_format<Q2_K>();

}  // namespace steelyard::inline STEELYARD_TARGET

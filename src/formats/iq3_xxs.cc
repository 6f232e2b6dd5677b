#include "formats/iq3_xxs.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ3_XXS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    for (int v = 0; v < 8; ++v) {
      block.indices[8 * b + v] = static_cast<uint8_t>(index_of(codes[4 * b + v / 2], v % 2));
    }
    block.signs_and_scales[b] = signs_and_sub_scale(codes + 4 * b, scales.sub_scale[b]);
  }
}

constinit const Format kIQ3_XXSFormat = make_format<IQ3_XXS>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

#include "formats/iq2_xxs.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ2_XXS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    auto& sub_block = block.sub_blocks[b];
    for (int k = 0; k < 4; ++k) sub_block.indices[k] = static_cast<uint8_t>(index_of(codes[4 * b + k]));
    sub_block.signs_and_scale = signs_and_sub_scale(codes + 4 * b, scales.sub_scale[b]);
  }
}

constinit const Format kIQ2_XXSFormat = make_format<IQ2_XXS>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

#include "formats/iq2_xxs.h"

namespace steelyard::inline STEELYARD_TARGET {

const IQ2_XXS::Book& IQ2_XXS::codebook(int) {
  static const Book kBook([](int c, int j) { return iq2_xxs_grid()[c] >> (8 * j) & 0xFF; });
  return kBook;
}

STEELYARD_HD void IQ2_XXS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    auto& sub_block = block.sub_blocks[b];
    uint32_t signs = static_cast<uint32_t>(scales.step[b]) << 28;
    for (int k = 0; k < 4; ++k) {
      const uint32_t code = codes[4 * b + k];
      sub_block.indices[k] = static_cast<uint8_t>(index_of(code));
      signs |= (signs_of(code) & 127) << (7 * k);
    }
    sub_block.signs_and_scale = signs;
  }
}

constinit const Format kIQ2_XXSFormat = make_format<IQ2_XXS>();

}  // namespace steelyard::inline STEELYARD_TARGET

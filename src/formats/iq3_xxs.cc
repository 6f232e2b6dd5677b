#include "formats/iq3_xxs.h"

namespace steelyard::inline STEELYARD_TARGET {

const IQ3_XXS::Book& IQ3_XXS::codebook(int) {
  static const Book kBook([](int c, int j) { return iq3_xxs_grid()[c] >> (8 * j) & 0xFF; });
  return kBook;
}

STEELYARD_HD void IQ3_XXS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    uint32_t signs = static_cast<uint32_t>(scales.step[b]) << 28;
    for (int k = 0; k < 4; ++k) {
      const uint32_t code = codes[4 * b + k];
      for (int v = 0; v < 2; ++v) block.indices[8 * b + 2 * k + v] = static_cast<uint8_t>(index_of(code, v));
      signs |= (signs_of(code) & 127) << (7 * k);
    }
    block.signs_and_scales[b] = signs;
  }
}

constinit const Format kIQ3_XXSFormat = make_format<IQ3_XXS>();

}  // namespace steelyard::inline STEELYARD_TARGET

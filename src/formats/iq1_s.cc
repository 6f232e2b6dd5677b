#include "formats/iq1_s.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ1_S::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    uint32_t word = static_cast<uint32_t>(scales.sub_scale[b]) << 12 | static_cast<uint32_t>(scales.variant[b]) << 15;
    for (int k = 0; k < 4; ++k) {
      const uint32_t index = index_of(codes[4 * b + k]);
      block.low[4 * b + k] = static_cast<uint8_t>(index);
      word |= (index >> 8) << (3 * k);
    }
    block.high_and_scales[b] = static_cast<uint16_t>(word);
  }
}

constinit const Format kIQ1_SFormat = make_format<IQ1_S>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

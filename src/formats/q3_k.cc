#include "formats/q3_k.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q3_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    const int sub_scale = scales.scale[b] - kLowSubScale;
    block.scales_low[b % 8] |= static_cast<uint8_t>((sub_scale & 15) << (4 * (b / 8)));
    block.scales_high[b % 4] |= static_cast<uint8_t>((sub_scale >> 4) << (2 * (b / 4)));
  }
  pack_two_bits(codes, 0, block.low);
  pack_bit(codes, 2, block.high);
}

constinit const Format kQ3_KFormat = make_format<Q3_K>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

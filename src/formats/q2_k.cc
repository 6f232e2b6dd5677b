#include "formats/q2_k.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q2_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  block.dmin = scales.d_min;
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b] = static_cast<uint8_t>(scales.scale[b] | scales.minimum[b] << 4);
  pack_two_bits(codes, 0, block.codes);
}

constinit const Format kQ2_KFormat = make_format<Q2_K>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

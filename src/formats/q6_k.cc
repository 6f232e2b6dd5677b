#include "formats/q6_k.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q6_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b] = scales.scale[b];
  for (int h = 0; h < 2; ++h) pack_nibbles(codes + 128 * h, 64, block.low + 64 * h);
  pack_two_bits(codes, 4, block.high);
}

constinit const Format kQ6_KFormat = make_format<Q6_K>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

#include "formats/q5_k.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q5_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.scales = KScales::pack(scales);
  pack_bit(codes, 4, block.high);
  for (int h = 0; h < 4; ++h) pack_nibbles(codes + 64 * h, 32, block.low + 32 * h);
}

constinit const Format kQ5_KFormat = make_format<Q5_K>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

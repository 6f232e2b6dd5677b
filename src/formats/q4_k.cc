#include "formats/q4_k.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q4_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.scales = KScales::pack(scales);
  for (int h = 0; h < 4; ++h) pack_nibbles(codes + 64 * h, 32, block.codes + 32 * h);
}

constinit const Format kQ4_KFormat = make_format<Q4_K>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

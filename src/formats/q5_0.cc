#include "formats/q5_0.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q5_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  block.high = fifth_bits(codes);
  pack_nibbles(codes, 16, block.low);
}

constinit const Format kQ5_0Format = make_format<Q5_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

#include "formats/q5_1.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q5_1::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  block.m = scales.m;
  block.high = fifth_bits(codes);
  pack_nibbles(codes, 16, block.low);
}

constinit const Format kQ5_1Format = make_format<Q5_1>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

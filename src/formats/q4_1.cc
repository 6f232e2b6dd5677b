#include "formats/q4_1.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q4_1::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  block.m = scales.m;
  pack_nibbles(codes, 16, block.codes);
}

constinit const Format kQ4_1Format = make_format<Q4_1>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

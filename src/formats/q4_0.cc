#include "formats/q4_0.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q4_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  pack_nibbles(codes, 16, block.codes);
}

constinit const Format kQ4_0Format = make_format<Q4_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

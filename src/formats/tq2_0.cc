#include "formats/tq2_0.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void TQ2_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  pack_two_bits(codes, 0, block.codes);
}

constinit const Format kTQ2_0Format = make_format<TQ2_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

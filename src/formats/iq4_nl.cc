#include "formats/iq4_nl.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ4_NL::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  pack_nibbles(codes, 16, block.codes);
}

constinit const Format kIQ4_NLFormat = make_format<IQ4_NL>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

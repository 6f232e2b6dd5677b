#include "formats/iq4_nl.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void IQ4_NL::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int i = 0; i < 16; ++i) block.codes[i] = static_cast<uint8_t>(codes[i] | codes[i + 16] << 4);
}

constinit const Format kIQ4_NLFormat = make_format<IQ4_NL>();

}  // namespace steelyard::inline STEELYARD_TARGET

#include "formats/tq2_0.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void TQ2_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int j = 0; j < 64; ++j) {
    const uint32_t* first = codes + 128 * (j / 32) + j % 32;
    block.codes[j] = static_cast<uint8_t>(first[0] | first[32] << 2 | first[64] << 4 | first[96] << 6);
  }
}

constinit const Format kTQ2_0Format = make_format<TQ2_0>();

}  // namespace steelyard::inline STEELYARD_TARGET

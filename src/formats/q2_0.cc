#include "formats/q2_0.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void Q2_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int j = 0; j < 16; ++j) {
    const uint32_t* first = codes + 4 * j;
    block.codes[j] = static_cast<uint8_t>(first[0] | first[1] << 2 | first[2] << 4 | first[3] << 6);
  }
}

constinit const Format kQ2_0Format = make_format<Q2_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

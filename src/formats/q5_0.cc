#include "formats/q5_0.h"

#include <cstring>

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q5_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  uint32_t high = 0;
  for (int i = 0; i < kBlockLen; ++i) high |= (codes[i] >> 4) << i;
  block.d = scales.d;
  std::memcpy(block.high, &high, sizeof(high));
  for (int i = 0; i < 16; ++i) block.low[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

constinit const Format kQ5_0Format = make_format<Q5_0>();

}  // namespace steelyard::inline STEELYARD_TARGET

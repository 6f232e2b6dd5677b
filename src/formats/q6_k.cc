#include "formats/q6_k.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q6_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b] = scales.scale[b];
  for (int h = 0; h < 2; ++h, codes += 128) {
    for (int j = 0; j < 32; ++j) {
      const uint32_t a = codes[j], b = codes[32 + j], c = codes[64 + j], d = codes[96 + j];
      block.low[64 * h + j] = static_cast<uint8_t>((a & 15) | (c & 15) << 4);
      block.low[64 * h + 32 + j] = static_cast<uint8_t>((b & 15) | (d & 15) << 4);
      block.high[32 * h + j] = static_cast<uint8_t>(a >> 4 | (b >> 4) << 2 | (c >> 4) << 4 | (d >> 4) << 6);
    }
  }
}

constinit const Format kQ6_KFormat = make_format<Q6_K>();

}  // namespace steelyard::inline STEELYARD_TARGET

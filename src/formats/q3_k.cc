#include "formats/q3_k.h"

namespace steelyard::inline STEELYARD_TARGET {

STEELYARD_HD void Q3_K::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int b = 0; b < kSubBlocks; ++b) {
    const int step = scales.scale[b] - kLowStep;
    block.scales_low[b % 8] |= static_cast<uint8_t>((step & 15) << (4 * (b / 8)));
    block.scales_high[b % 4] |= static_cast<uint8_t>((step >> 4) << (2 * (b / 4)));
  }
  for (int h = 0; h < 2; ++h, codes += 128) {
    for (int j = 0; j < 32; ++j) {
      const uint32_t a = codes[j], b = codes[32 + j], c = codes[64 + j], d = codes[96 + j];
      block.low[32 * h + j] = static_cast<uint8_t>((a & 3) | (b & 3) << 2 | (c & 3) << 4 | (d & 3) << 6);
      block.high[j] |= static_cast<uint8_t>((a >> 2 | (b >> 2) << 1 | (c >> 2) << 2 | (d >> 2) << 3) << (4 * h));
    }
  }
}

constinit const Format kQ3_KFormat = make_format<Q3_K>();

}  // namespace steelyard::inline STEELYARD_TARGET

#include "formats/tq1_0.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void TQ1_0::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block.d = scales.d;
  // The digits of a byte are `stride` values apart.
  const auto write = [&](int byte, int first, int stride, int n_digits) {
    uint32_t number = 0;
    for (int p = 0; p < 5; ++p) number = 3 * number + (p < n_digits ? codes[first + stride * p] : 0);
    block.digits[byte] = static_cast<uint8_t>((256 * number + 242) / 243);
  };
  for (int j = 0; j < 32; ++j) write(j, j, 32, 5);
  for (int j = 0; j < 16; ++j) write(32 + j, 160 + j, 16, 5);
  for (int j = 0; j < 4; ++j) write(48 + j, 240 + j, 4, 4);
}

constinit const Format kTQ1_0Format = make_format<TQ1_0>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

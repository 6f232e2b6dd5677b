#include "formats/iq2_s.h"

namespace steelyard::inline STEELYARD_TARGET {

const IQ2_S::Book& IQ2_S::codebook(int) {
  static const Book kBook([](int c, int j) { return iq2_s_grid()[c] >> (8 * j) & 0xFF; });
  return kBook;
}

STEELYARD_HD void IQ2_S::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int v = 0; v < kBlockLen / kJoint; ++v) {
    const uint32_t index = index_of(codes[v]);
    block.low[v] = static_cast<uint8_t>(index);
    block.high[v / 4] |= static_cast<uint8_t>((index >> 8) << (2 * (v % 4)));
    block.signs[v] = static_cast<uint8_t>(signs_of(codes[v]));
  }
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b / 2] |= static_cast<uint8_t>(scales.step[b] << (4 * (b % 2)));
}

constinit const Format kIQ2_SFormat = make_format<IQ2_S>();

}  // namespace steelyard::inline STEELYARD_TARGET

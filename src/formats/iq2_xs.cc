#include "formats/iq2_xs.h"

namespace steelyard::inline STEELYARD_TARGET {

const IQ2_XS::Book& IQ2_XS::codebook(int) {
  static const Book kBook([](int c, int j) { return iq2_xs_grid()[c] >> (8 * j) & 0xFF; });
  return kBook;
}

STEELYARD_HD void IQ2_XS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int v = 0; v < kBlockLen / kJoint; ++v) {
    block.vectors[v] = static_cast<uint16_t>(index_of(codes[v]) | (signs_of(codes[v]) & 127) << 9);
  }
  for (int b = 0; b < kSubBlocks; ++b) block.scales[b / 2] |= static_cast<uint8_t>(scales.step[b] << (4 * (b % 2)));
}

constinit const Format kIQ2_XSFormat = make_format<IQ2_XS>();

}  // namespace steelyard::inline STEELYARD_TARGET

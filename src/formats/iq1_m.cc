#include "formats/iq1_m.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ1_M::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  for (int v = 0; v < kBlockLen / kVectorDim; ++v) {
    const uint32_t index = index_of(codes[v]);
    block.low[v] = static_cast<uint8_t>(index);
    block.high_and_shifts[v / 2] |= static_cast<uint8_t>((index >> 8 | signs_of(codes[v]) << 3) << (4 * (v % 2)));
  }
  for (int b = 0; b < kSubBlocks; ++b) {
    block.scales[b / 4] |= static_cast<uint16_t>(scales.sub_scale[b] << (3 * (b % 4)));
  }
  write_d(scales.d, block);
}

constinit const Format kIQ1_MFormat = make_format<IQ1_M>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

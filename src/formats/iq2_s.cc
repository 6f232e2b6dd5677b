#include "formats/iq2_s.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ2_S::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int v = 0; v < kBlockLen / kVectorDim; ++v) {
    const uint32_t index = index_of(codes[v]);
    block.low[v] = static_cast<uint8_t>(index);
    block.high[v / 4] |= static_cast<uint8_t>((index >> 8) << (2 * (v % 4)));
    block.signs[v] = static_cast<uint8_t>(signs_of(codes[v]));
  }
  pack_neighbours(scales.sub_scale, kSubBlocks, block.scales);
}

constinit const Format kIQ2_SFormat = make_format<IQ2_S>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

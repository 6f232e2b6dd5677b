#include "formats/iq3_s.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ3_S::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int v = 0; v < kBlockLen / kVectorDim; ++v) {
    const uint32_t index = index_of(codes[v]);
    block.low[v] = static_cast<uint8_t>(index);
    block.high[v / 8] |= static_cast<uint8_t>((index >> 8) << (v % 8));
    block.signs[v / 2] |= static_cast<uint8_t>(signs_of(codes[v]) << (4 * (v % 2)));
  }
  pack_neighbours(scales.sub_scale, kSubBlocks, block.scales);
}

constinit const Format kIQ3_SFormat = make_format<IQ3_S>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

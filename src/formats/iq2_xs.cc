#include "formats/iq2_xs.h"

#include "formats/bit_codes.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

STEELYARD_HD void IQ2_XS::pack(const Scales& scales, const uint32_t* codes, Block& block) {
  block = {};
  block.d = scales.d;
  for (int v = 0; v < kBlockLen / kVectorDim; ++v) {
    block.vectors[v] = static_cast<uint16_t>(index_of(codes[v]) | (signs_of(codes[v]) & 127) << 9);
  }
  pack_neighbours(scales.sub_scale, kSubBlocks, block.scales);
}

constinit const Format kIQ2_XSFormat = make_format<IQ2_XS>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

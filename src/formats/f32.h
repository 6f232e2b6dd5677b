// F32: plain binary32 values.
//
//   bytes  0..3  value  float
#pragma once

#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct F32 : PlainEncoder<F32> {
  static constexpr Type kType = Type::F32;

  struct [[gnu::packed]] Block {
    float value;
  };
  static_assert(sizeof(Block) == 4);

  /// kLanes of them.
  STEELYARD_HD static Floats values(const Block* blocks) { return read<Floats>(blocks); }
  static float value(const Block& block) { return block.value; }

  static constexpr int kStoredScales = 1;
  STEELYARD_HD static void read_scales(const Block& block, float* scales) { *scales = block.value; }
  STEELYARD_HD static void write_scales(const float* scales, Block& block) { block.value = *scales; }

  static Block encode(float value);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET

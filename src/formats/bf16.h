// BF16: one bfloat16, the upper half of a binary32, per value.
//
//   bytes   0..1   bfloat16
#pragma once

#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct BF16 : PlainEncoder<BF16> {
  static constexpr Type kType = Type::BF16;

  struct [[gnu::packed]] Block {
    BFloat16 bfloat;
  };
  static_assert(sizeof(Block) == 2);

  /// kLanes of them.
  STEELYARD_HD static Floats values(const Block* blocks) { return load_bfloats(blocks); }
  static float value(const Block& block) { return to_float(block.bfloat); }
  static Block encode(float value);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET

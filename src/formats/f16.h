// F16: one IEEE binary16 per value.
//
//   bytes   0..1   half
#pragma once

#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct F16 : PlainEncoder<F16> {
  static constexpr Type kType = Type::F16;

  struct [[gnu::packed]] Block {
    Half half;
  };
  static_assert(sizeof(Block) == 2);

  /// kLanes of them.
  STEELYARD_HD static Floats values(const Block* blocks) { return load_halves(blocks); }
  static float value(const Block& block) { return to_float(block.half); }
  static Block encode(float value);
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET

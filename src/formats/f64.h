// F64: plain binary64 values; they decode to the nearest float.
//
//   bytes  0..7  value  double
#pragma once

#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct F64 : PlainType {
  static constexpr Type kType = Type::F64;

  struct [[gnu::packed]] Block {
    double value;
  };
  static_assert(sizeof(Block) == 8);

  static float value(const Block& block) { return static_cast<float>(block.value); }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET

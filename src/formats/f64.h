// F64: plain binary64 values; they decode to the nearest float.
//
//   bytes  0..7  value  double
#pragma once

#include "formats/codec.h"

namespace steelyard::inline STEELYARD_TARGET {

struct F64 {
  static constexpr Type kType = Type::F64;
  static constexpr int kBlockLen = 1;
  static constexpr Importance kImportance = Importance::kIgnored;
  static constexpr std::optional<Type> kFallback = std::nullopt;

  struct [[gnu::packed]] Block {
    double value;
  };
  static_assert(sizeof(Block) == 8);

  static float value(const Block& block) { return static_cast<float>(block.value); }
};

}  // namespace steelyard::inline STEELYARD_TARGET

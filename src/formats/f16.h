// F16: one IEEE binary16 per value.
//
//   bytes   0..1   half
#pragma once

#include "base/half.h"
#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::inline STEELYARD_TARGET {

struct F16 : PlainSteps {
  static constexpr Type kType = Type::F16;
  static constexpr int kBlockLen = 1;
  static constexpr Importance kImportance = Importance::kIgnored;
  static constexpr std::optional<Type> kFallback = std::nullopt;

  struct [[gnu::packed]] Block {
    Half half;
  };
  static_assert(sizeof(Block) == 2);

  /// kLanes of them.
  STEELYARD_HD static Floats values(const Block* blocks) { return load_halves(blocks); }
  static float value(const Block& block) { return to_float(block.half); }

  static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::inline STEELYARD_TARGET

// BF16: one bfloat16, the upper half of a binary32, per value.
//
//   bytes   0..1   bfloat16
#pragma once

#include "base/half.h"
#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::inline STEELYARD_TARGET {

struct BF16 : PlainSteps {
  static constexpr Type kType = Type::BF16;
  static constexpr int kBlockLen = 1;
  static constexpr Importance kImportance = Importance::kIgnored;
  static constexpr std::optional<Type> kFallback = std::nullopt;

  struct [[gnu::packed]] Block {
    BFloat16 bfloat;
  };
  static_assert(sizeof(Block) == 2);

  /// kLanes of them.
  STEELYARD_HD static Floats values(const Block* blocks) { return load_bfloats(blocks); }
  static float value(const Block& block) { return to_float(block.bfloat); }

  static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::inline STEELYARD_TARGET

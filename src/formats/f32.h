// F32: plain binary32 values.
//
//   bytes  0..3  value  float
#pragma once

#include "formats/codec.h"
#include "formats/plain.h"

namespace steelyard::inline STEELYARD_TARGET {

struct F32 : PlainSteps {
  static constexpr Type kType = Type::F32;
  static constexpr int kBlockLen = 1;
  static constexpr Importance kImportance = Importance::kIgnored;
  static constexpr std::optional<Type> kFallback = std::nullopt;

  struct [[gnu::packed]] Block {
    float value;
  };
  static_assert(sizeof(Block) == 4);

  /// kLanes of them.
  STEELYARD_HD static Floats values(const Block* blocks) { return read<Floats>(blocks); }
  static float value(const Block& block) { return block.value; }

  static uint32_t round(const float* x, const float* w, const Scales& scales, int position, float* values);
  static void pack(const Scales& scales, const uint32_t* codes, Block& block);
};

}  // namespace steelyard::inline STEELYARD_TARGET

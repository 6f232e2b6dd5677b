// What plain types share: blocks of one value, which no importance changes and no other type takes over. F32, F16 and
// BF16 can be written, too: there are no scales to fit, and the code of a value is its bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>

#include "formats/format.h"
#include "simd/this_target.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

struct PlainType {
  static constexpr int kBlockLen = 1;
  static constexpr Importance kImportance = Importance::kIgnored;
  static constexpr std::optional<Type> kFallback = std::nullopt;
};

/// Base of a traits struct F, which has Block, value(block), and encode(value), the block nearest to a value.
template <class F>
struct PlainEncoder : PlainType {
  static constexpr int kVectorDim = 1;
  struct Scales {};
  static void objective(const float*, const float*, float* w) { *w = 1.0f; }
  static Scales fit(const float*, const float*, Effort) { return {}; }
  static uint32_t round(const float* x, const float*, const Scales&, int, float* values) {
    const auto block = F::encode(*x);
    *values = F::value(block);
    uint32_t code = 0;
    std::memcpy(&code, &block, sizeof(block));
    return code;
  }
  static void refit(const float*, const float*, const uint32_t*, Scales&) {}
  template <class Block>
  static void pack(const Scales&, const uint32_t* codes, Block& block) {
    std::memcpy(&block, codes, sizeof(block));
  }
};

}  // namespace steelyard::formats::inline STEELYARD_TARGET

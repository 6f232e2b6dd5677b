// The vocabulary of simd.h in NEON, the baseline of aarch64, with the byte products of dotprod where the compiler was
// told of them.
#pragma once

#include <arm_neon.h>

namespace steelyard::simd::inline STEELYARD_TARGET {

inline constexpr int kLanes = 4;

using Floats [[gnu::vector_size(16)]] = float;
using Ints [[gnu::vector_size(16)]] = int32_t;
using Words [[gnu::vector_size(16)]] = uint32_t;

inline Floats fma(const Floats& a, const Floats& b, const Floats& c) {
  return reinterpret_cast<Floats>(
      vfmaq_f32(reinterpret_cast<float32x4_t>(c), reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
}
inline Floats square_root(const Floats& v) {
  return reinterpret_cast<Floats>(vsqrtq_f32(reinterpret_cast<float32x4_t>(v)));
}
inline uint32_t lane_bits(const Ints& mask) {
  const Words bits = reinterpret_cast<Words>(mask) & Words{1, 2, 4, 8};
  return vaddvq_u32(reinterpret_cast<uint32x4_t>(bits));
}
inline Ints dot_pairs(const Ints& sums, const Ints& a, const Ints& b) {
  const auto x = reinterpret_cast<int16x8_t>(a), y = reinterpret_cast<int16x8_t>(b);
  return sums + reinterpret_cast<Ints>(vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
inline void store_pairs(const Ints& a, const Ints& b, int16_t* p) {
  vst1q_s16(p, vcombine_s16(vmovn_s32(reinterpret_cast<int32x4_t>(a)), vmovn_s32(reinterpret_cast<int32x4_t>(b))));
}

// ---- a register of 16 bytes

inline Ints spread_part(uint64_t bits) {
  const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201u));
  const uint8x16_t bytes =
      vcombine_u8(vdup_n_u8(static_cast<uint8_t>(bits)), vdup_n_u8(static_cast<uint8_t>(bits >> 8)));
  return reinterpret_cast<Ints>(vtstq_u8(bytes, bit_of));
}
inline Ints negate_part(const Ints& v, uint64_t bits) {
  const auto mask = reinterpret_cast<int8x16_t>(spread_part(bits)), bytes = reinterpret_cast<int8x16_t>(v);
  return reinterpret_cast<Ints>(vsubq_s8(veorq_s8(bytes, mask), mask));
}
inline Ints look_up_part(const int8_t* table, const Ints& v) {
  return reinterpret_cast<Ints>(vqtbl1q_s8(vld1q_s8(table), reinterpret_cast<uint8x16_t>(v)));
}

template <Factor>
inline Ints dot_part(const Ints& sums, const Ints& q, const Ints& x) {
  const auto codes = reinterpret_cast<int8x16_t>(q), inputs = reinterpret_cast<int8x16_t>(x);
#if defined(__ARM_FEATURE_DOTPROD)
  return reinterpret_cast<Ints>(vdotq_s32(reinterpret_cast<int32x4_t>(sums), codes, inputs));
#else
  const int32x4_t first = vpaddlq_s16(vmull_s8(vget_low_s8(codes), vget_low_s8(inputs)));
  const int32x4_t second = vpaddlq_s16(vmull_high_s8(codes, inputs));
  return sums + reinterpret_cast<Ints>(vpaddq_s32(first, second));
#endif
}

}  // namespace steelyard::simd::inline STEELYARD_TARGET

#include "simd/four_lanes.h"

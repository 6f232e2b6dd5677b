// Matrix products of bytes: activations rounded to 8 bits, the codes of the blocks as they stand. Compiled once per
// target (byte_panels.simd.cc).
//
// Both sides read as groups of 16 codes with a scale. A product of two groups is summed in integers, exactly, then
// multiplied by both scales. So the error is that of rounding activations alone: each is off by up to half a 127th of the
// largest of its group.
//
// A panel holds `panel` weight rows side by side, four codes of all of them in a row of memory, as gemm.h does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simd/target.h"

namespace steelyard::cpu {

inline constexpr int kByteGroup = 16;  ///< values that share a scale
inline constexpr int kByteUnit = 64;   ///< values that are multiplied at a time: rows are filled up with zeros
inline constexpr int kByteSpan = 256;  ///< a row of activations is a multiple of this

/// Activations of some tokens, `width` values each. What is not finite has a scale and sums of NaN.
struct ByteInput {
  int64_t width;
  int8_t* codes;     ///< [tokens, width], -127 .. 127
  float* scales;     ///< [tokens, width / 16]
  float* sums;       ///< [tokens, width / 16]: scale times the sum of the codes
  float* pair_sums;  ///< [tokens, width / 32]
  int32_t* offsets;  ///< [tokens, width / 16]: what a product with biased codes has too little (simd.h)

  /// From value `begin` of token t on.
  ByteInput at(int64_t t, int64_t begin) const {
    const int64_t values = t * width + begin, groups = values / kByteGroup;
    return {width, codes + values, scales + groups, sums + groups, pair_sums + groups / 2, offsets + groups};
  }
};

/// Which minima weights have: none, one per 16 values, or one per 32 (each twice).
enum class Minima { kNone, kOfGroups, kOfPairs };

/// Weights of `panel` rows, `depth` values each, a multiple of kByteUnit.
struct BytePanel {
  std::byte* codes;  ///< [depth / 4, panel, 4]
  float* scales;     ///< [depth / 16, panel]
  float* minima;     ///< [depth / 16, panel] where the type has them
  int64_t depth;

  /// Bytes of memory for each row.
  static constexpr int64_t row_bytes(int64_t depth) {
    return depth + 2 * depth / kByteGroup * static_cast<int64_t>(sizeof(float));
  }
  static BytePanel in(std::byte* memory, int64_t panel, int64_t depth, Minima minima) {
    auto* numbers = reinterpret_cast<float*>(memory + panel * depth);
    return {memory, numbers, minima == Minima::kNone ? nullptr : numbers + panel * depth / kByteGroup, depth};
  }
};

struct BytePanels {
  int panel;  ///< weight rows per panel, at most kMaxBytePanel

  /// out.width >= n values of one token.
  void (*quantize)(const float* x, int64_t n, const ByteInput& out);

  /// The first out.depth values of n rows, which lie in `rows` one after the other, become a panel; zeros beside the rows
  /// there are.
  void (*pack)(const BytePanel& rows, int64_t n, const BytePanel& out);

  /// c [m, n] = tokens [m, depth] x panel, or += with `add`; n <= panel.
  void (*multiply)(Minima minima, int64_t m, int64_t n, const ByteInput& tokens, const BytePanel& panel, float* c,
                   int64_t ldc, bool add);
};

inline constexpr int kMaxBytePanel = 32;

/// The kernels of one target, which the processor must have.
const BytePanels& byte_panels(simd::Target target);

}  // namespace steelyard::cpu

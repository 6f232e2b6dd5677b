// Matrix products of bytes: activations as integers of 8 bits, or of three times 8, and the codes of blocks as they
// stand. Compiled once per target (byte_panels.simd.cc; products with single rows: row_kernels.simd.cc).
//
// Both sides read as groups of 16 codes with a scale. A product of two groups is summed in integers, exactly, then
// multiplied by both scales. So the error is that of rounding activations alone. With one plane of bytes each is off by
// up to half a 127th of the largest of its group; with three by 2^-23 of it, about what sums of floats lose.
//
// A panel holds `panel` weight rows side by side, four codes of all of them in a row of memory, as gemm.h does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/scratch_buffer.h"
#include "simd/factor.h"
#include "simd/target.h"

namespace steelyard::compute::cpu {

inline constexpr int kByteGroup = 16;  ///< values that share a scale
inline constexpr int kByteUnit = 64;   ///< values that are multiplied at a time: rows are filled up with zeros
inline constexpr int kByteSpan = 256;  ///< a row of activations is a multiple of this

/// Activations of some tokens, `width` values each. A code's bytes are its digits -127 .. 127 to the base of 255, the
/// highest plane first: none is -128, whose sign cannot be turned. What is not finite has a scale and sums of NaN.
struct ByteInput {
  int64_t width;
  int planes;      ///< 1 or 3
  int8_t* codes;   ///< [tokens, planes, width]
  int32_t* fours;  ///< [tokens, planes, width / 4]: minus the sums of four bytes, for what a bias adds (simd/factor.h)
  int32_t* offsets;  ///< [tokens, width / 16]: minus the sums of the codes
  float* scales;     ///< [tokens, width / 16]
  float* sums;       ///< [tokens, width / 16]: scale times the sum of the codes
  float* pair_sums;  ///< [tokens, width / 32]

  /// From value `begin` of token t on, in every plane.
  ByteInput at(int64_t t, int64_t begin) const {
    const int64_t values = t * width * planes + begin, groups = (t * width + begin) / kByteGroup;
    return {width,           planes,        codes + values,        fours + values / 4, offsets + groups,
            scales + groups, sums + groups, pair_sums + groups / 2};
  }
};

/// The memory of activations.
class ByteInputs {
 public:
  /// For n tokens' values in all, whole spans each; what was there is lost.
  void reserve(int64_t n, int planes) {
    const auto values = static_cast<size_t>(n);
    planes_ = planes;
    const size_t codes = values * static_cast<size_t>(planes), groups = values / kByteGroup;
    codes_.reserve(codes);
    fours_.reserve(codes / 4);
    offsets_.reserve(groups);
    scales_.reserve(groups);
    sums_.reserve(groups);
    pair_sums_.reserve(groups / 2);
  }
  /// Tokens of `width` values from value `first` of all on.
  ByteInput at(int64_t first, int64_t width) {
    const ByteInput all{first,           planes_,        codes_.data(), fours_.data(),
                        offsets_.data(), scales_.data(), sums_.data(),  pair_sums_.data()};
    ByteInput of = all.at(1, 0);  // what lies before, as one token
    of.width = width;
    return of;
  }

 private:
  int planes_ = 1;
  ScratchBuffer<int8_t> codes_;
  ScratchBuffer<int32_t> fours_, offsets_;
  ScratchBuffer<float> scales_, sums_, pair_sums_;
};

/// What the loops over a panel depend on: which minima weights have (none, one per 16 values, or one per 32, each
/// twice), and, where there are none, how large codes are.
enum class PanelKind { kMinimaOfGroups, kMinimaOfPairs, kTinyCodes, kSmallCodes, kByteCodes };
constexpr bool has_minima(PanelKind kind) { return kind < PanelKind::kTinyCodes; }
constexpr PanelKind panel_kind(simd::Factor codes, int scale_len) {
  switch (codes) {
    case simd::Factor::kUnsigned:  // where there are minima
      return scale_len == kByteGroup ? PanelKind::kMinimaOfGroups : PanelKind::kMinimaOfPairs;
    case simd::Factor::kTiny:
      return PanelKind::kTinyCodes;
    case simd::Factor::kSmall:
      return PanelKind::kSmallCodes;
    default:
      return PanelKind::kByteCodes;
  }
}

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
  static BytePanel in(std::byte* memory, int64_t panel, int64_t depth, PanelKind kind) {
    auto* numbers = reinterpret_cast<float*>(memory + panel * depth);
    return {memory, numbers, has_minima(kind) ? numbers + panel * depth / kByteGroup : nullptr, depth};
  }
};

struct BytePanels {
  int panel;  ///< weight rows per panel

  /// n <= out.width values of one token.
  void (*quantize)(const float* x, int64_t n, const ByteInput& out);

  /// The first out.depth values of n rows, which lie in `rows` one after the other, become a panel; zeros beside the
  /// rows there are.
  void (*pack)(const BytePanel& rows, int64_t n, const BytePanel& out);

  /// c [m, n] = tokens [m, depth], of one plane, x panel, or += with `add`; n <= panel.
  void (*multiply)(PanelKind kind, int64_t m, int64_t n, const ByteInput& tokens, const BytePanel& panel, float* c,
                   int64_t ldc, bool add);
};

/// The kernels of one target, which the processor must have.
const BytePanels& byte_panels(simd::Target target);

}  // namespace steelyard::compute::cpu

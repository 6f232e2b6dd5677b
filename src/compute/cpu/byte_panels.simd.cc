// Activations as bytes, and the register tiles that multiply panels of bytes. Compiled once per target
// (cmake/simd.cmake).
#include "compute/cpu/byte_panels.h"

#include <algorithm>
#include <cstring>

#include "compute/cpu/codes.h"
#include "compute/cpu/tiles.h"
#include "simd/simd.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {
namespace {

// Vectors of 16 weight rows in a panel, and tokens of a register tile.
constexpr int kVectors = kLanes == 16 ? 2 : 1;
constexpr int kPanel = 16 * kVectors;
constexpr int kTokens = 4;

constexpr Factor factor_of(PanelKind kind) {
  switch (kind) {
    case PanelKind::kTinyCodes:
      return Factor::kTiny;
    case PanelKind::kSmallCodes:
      return Factor::kSmall;
    case PanelKind::kByteCodes:
      return Factor::kByte;
    default:
      return Factor::kUnsigned;
  }
}

// The next group of all rows of a panel.
struct WeightGroup {
  Bytes codes[kVectors][kByteGroup / 4];
  Floats16 scale[kVectors], min[kVectors];
};

template <int kRows, PanelKind kKind>
inline void tile(const ByteInput& in, const BytePanel& panel, float* c, int64_t ldc, bool add) {
  constexpr Factor kFactor = factor_of(kKind);
  const int64_t groups_of_row = in.width / kByteGroup;
  Floats16 sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sums[r][v] = add ? load16(c + r * ldc + 16 * v) : broadcast16(0);
  }
  for (int64_t group = 0; group < panel.depth / kByteGroup; ++group) {
    const bool minima_now =
        kKind == PanelKind::kMinimaOfGroups || (kKind == PanelKind::kMinimaOfPairs && group % 2 == 0);
    WeightGroup w;
    for (int v = 0; v < kVectors; ++v) {
      const std::byte* codes = panel.codes + group * kByteGroup * kPanel + 64 * v;
      for (int i = 0; i < kByteGroup / 4; ++i) w.codes[v][i] = load_bytes(codes + i * 4 * kPanel);
      w.scale[v] = load16(panel.scales + group * kPanel + 16 * v);
      if (minima_now) w.min[v] = load16(panel.minima + group * kPanel + 16 * v);
    }
    for (int r = 0; r < kRows; ++r) {
      const int64_t at = r * groups_of_row + group;
      const int8_t* codes = in.codes + at * kByteGroup;
      const Bytes x[4] = {repeat_word(codes), repeat_word(codes + 4), repeat_word(codes + 8), repeat_word(codes + 12)};
      const Ints16 offset = kBias<kFactor> != 0 ? times_bias<kFactor>(repeat16(in.offsets[at])) : repeat16(0);
      const Floats16 input_scale = broadcast16(in.scales[at]);
      for (int v = 0; v < kVectors; ++v) {
        const Ints16 products = dot_fours<kFactor>(offset, w.codes[v], x);
        sums[r][v] = fma(to_floats(products), w.scale[v] * input_scale, sums[r][v]);
      }
      if (!minima_now) continue;
      const float input_sum = kKind == PanelKind::kMinimaOfPairs ? in.pair_sums[at / 2] : in.sums[at];
      for (int v = 0; v < kVectors; ++v) sums[r][v] = subtract_product(sums[r][v], w.min[v], broadcast16(input_sum));
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store(sums[r][v], c + r * ldc + 16 * v);
  }
}

template <PanelKind kKind>
void multiply_as(int64_t m, int64_t n, const ByteInput& tokens, const BytePanel& panel, float* c, int64_t ldc,
                 bool add) {
  for_tokens<kTokens>(m, [&]<int kRows>(int64_t t) {
    const ByteInput in = tokens.at(t, 0);
    if (n == kPanel) return tile<kRows, kKind>(in, panel, c + t * ldc, ldc, add);
    narrow<kRows, kPanel>(n, c + t * ldc, ldc, add,
                          [&](float* full) { tile<kRows, kKind>(in, panel, full, kPanel, add); });
  });
}

void multiply(PanelKind kind, int64_t m, int64_t n, const ByteInput& tokens, const BytePanel& panel, float* c,
              int64_t ldc, bool add) {
  const auto as = [&]<PanelKind kKind>() { multiply_as<kKind>(m, n, tokens, panel, c, ldc, add); };
  switch (kind) {
    case PanelKind::kMinimaOfGroups:
      return as.template operator()<PanelKind::kMinimaOfGroups>();
    case PanelKind::kMinimaOfPairs:
      return as.template operator()<PanelKind::kMinimaOfPairs>();
    case PanelKind::kTinyCodes:
      return as.template operator()<PanelKind::kTinyCodes>();
    case PanelKind::kSmallCodes:
      return as.template operator()<PanelKind::kSmallCodes>();
    case PanelKind::kByteCodes:
      return as.template operator()<PanelKind::kByteCodes>();
  }
}

void pack(const BytePanel& rows, int64_t n, const BytePanel& out) {
  const auto words = [](auto* p) { return reinterpret_cast<int32_t*>(p); };
  const int64_t groups = out.depth / kByteGroup, groups_of_row = rows.depth / kByteGroup;
  pack_words<kPanel>(words(rows.codes), rows.depth / 4, n, out.depth / 4, words(out.codes));
  pack_words<kPanel>(words(rows.scales), groups_of_row, n, groups, words(out.scales));
  if (out.minima != nullptr) pack_words<kPanel>(words(rows.minima), groups_of_row, n, groups, words(out.minima));
}

// The largest magnitudes of 16 groups as scales, and their inverses. Of floats without sign the bits are in order, NaN
// and infinity the largest.
struct GroupScales {
  alignas(64) float scale[kByteGroup], inverse[kByteGroup];
};
inline GroupScales scales_of(const float* x, float levels) {
  alignas(64) float most[kByteGroup];
  for (int group = 0; group < kByteGroup; ++group) {
    Floats magnitude = {};
    for (int i = 0; i < kByteGroup; i += kLanes) {
      magnitude = absolute_maximum(load(x + group * kByteGroup + i), magnitude);
    }
    most[group] = largest_magnitude(magnitude);
  }
  GroupScales of;
  for (int group = 0; group < kByteGroup; group += kLanes) {
    const Floats magnitude = load(most + group);
    const Floats finite = magnitude - magnitude;  // zero, or NaN
    store(magnitude / levels + finite, of.scale + group);
    // Below 1e-30 the quotient could overflow.
    store(magnitude > 1e-30f ? levels / magnitude : Floats{}, of.inverse + group);
  }
  return of;
}

// 256 values as codes of kPlanes bytes.
template <int kPlanes>
inline void quantize_span(const float* x, const ByteInput& out) {
  // The highest digit of three stays within 63, so that the code is exact in the arithmetic of `rounded`.
  constexpr float kLevels = kPlanes == 1 ? 127.0f : 63 * 255 * 255 + 127 * 255 + 127;
  const GroupScales of = scales_of(x, kLevels);
  std::copy(of.scale, of.scale + kByteGroup, out.scales);
  constexpr int32_t kWorth[3] = {kPlanes == 1 ? 1 : 255 * 255, 255, 1};
  int32_t sums[kByteGroup] = {};
  for (int unit = 0; unit < kByteSpan; unit += kByteUnit) {
    for (int i = unit; i < unit + kByteUnit; i += kByteGroup) {
      const float inverse = of.inverse[i / kByteGroup];
      Ints16 codes = each_part<Ints16>([&](int p) { return rounded(load(x + i + p * kLanes) * inverse); });
      for (int plane = kPlanes - 1; plane > 0; --plane) {
        // No quotient is as near to a half as its rounding error.
        const Ints16 rest = each_part<Ints16>([&](int p) { return rounded(to_floats(codes.part[p]) * (1.0f / 255)); });
        const Ints16 digit = each_part<Ints16>([&](int p) { return codes.part[p] - 255 * rest.part[p]; });
        store_low_bytes(digit, out.codes + plane * out.width + i);
        codes = rest;
      }
      store_low_bytes(codes, out.codes + i);
    }
    for (int plane = 0; plane < kPlanes; ++plane) {
      const Bytes codes = load_bytes(out.codes + plane * out.width + unit);
      int32_t fours[16];
      store(dot<Factor::kUnsigned>(repeat16(0), repeat(1), codes), fours);
      for (int i = 0; i < 16; ++i) {
        const int group = unit / kByteGroup + i / 4;
        sums[group] += fours[i] * kWorth[plane];
        out.fours[(plane * out.width + unit) / 4 + i] = -fours[i];
      }
    }
  }
  for (int group = 0; group < kByteGroup; ++group) {
    out.offsets[group] = -sums[group];
    out.sums[group] = of.scale[group] * static_cast<float>(sums[group]);
  }
  for (int pair = 0; pair < kByteGroup / 2; ++pair) out.pair_sums[pair] = out.sums[2 * pair] + out.sums[2 * pair + 1];
}

void quantize(const float* x, int64_t n, const ByteInput& out) {
  for (int64_t begin = 0; begin < out.width; begin += kByteSpan) {
    float last[kByteSpan];
    const float* values = x + begin;
    if (begin + kByteSpan > n) {
      std::fill(std::copy(x + std::min(begin, n), x + n, last), last + kByteSpan, 0.0f);
      values = last;
    }
    if (out.planes == 1)
      quantize_span<1>(values, out.at(0, begin));
    else
      quantize_span<3>(values, out.at(0, begin));
  }
}

}  // namespace

extern const BytePanels kBytePanels = {kPanel, quantize, pack, multiply};

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET

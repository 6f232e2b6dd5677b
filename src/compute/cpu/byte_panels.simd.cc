// Activations as bytes, and the register tiles that multiply panels of bytes. Compiled once per target
// (cmake/simd.cmake).
#include "compute/cpu/byte_panels.h"

#include <algorithm>
#include <cstring>

#include "compute/cpu/codes.h"
#include "compute/cpu/tiles.h"
#include "simd/simd.h"

namespace steelyard::cpu::STEELYARD_TARGET {
namespace {

// Vectors of 16 weight rows in a panel, and tokens of a register tile: a sum of integers and one of floats for each, the
// weights, and an activation in all places.
constexpr int kVectors = kLanes == 16 ? 2 : 1;
constexpr int kPanel = 16 * kVectors;
constexpr int kTokens = kLanes == 16 ? 6 : 2;
static_assert(kPanel <= kMaxBytePanel);

template <int kRows, Minima kMinima>
inline void tile(ByteInput in, const BytePanel& panel, float* c, int64_t ldc, bool add) {
  constexpr Factor kFactor = kMinima == Minima::kNone ? Factor::kBiased : Factor::kUnsigned;
  const std::byte* weights = panel.codes;
  Floats16 sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sums[r][v] = add ? load16(c + r * ldc + 16 * v) : broadcast16(0);
  }
  for (int64_t group = 0; group < panel.depth / kByteGroup; ++group) {
    Ints16 products[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      const int32_t offset = kFactor == Factor::kBiased && kBias != 0 ? in.offsets[r * (in.width / kByteGroup) + group] : 0;
      for (int v = 0; v < kVectors; ++v) products[r][v] = repeat16(offset);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kByteGroup / 4; ++i, weights += 4 * kPanel) {
      Bytes w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = load_bytes(weights + 64 * v);
      for (int r = 0; r < kRows; ++r) {
        const Bytes x = repeat_word(in.codes + r * in.width + group * kByteGroup + 4 * i);
        for (int v = 0; v < kVectors; ++v) products[r][v] = dot<kFactor>(products[r][v], w[v], x);
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      const Floats16 scale = load16(panel.scales + group * kPanel + 16 * v);
      for (int r = 0; r < kRows; ++r) {
        const Floats16 both = scale * broadcast16(in.scales[r * (in.width / kByteGroup) + group]);
        sums[r][v] = fma(to_floats(products[r][v]), both, sums[r][v]);
      }
      if constexpr (kMinima != Minima::kNone) {
        const bool of_pairs = kMinima == Minima::kOfPairs;
        if (of_pairs && group % 2 == 1) continue;
        const Floats16 min = load16(panel.minima + group * kPanel + 16 * v);
        const float* input = of_pairs ? in.pair_sums + group / 2 : in.sums + group;
        const int64_t step = in.width / (of_pairs ? 2 * kByteGroup : kByteGroup);
        for (int r = 0; r < kRows; ++r) sums[r][v] = subtract_product(sums[r][v], min, broadcast16(input[r * step]));
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) store(sums[r][v], c + r * ldc + 16 * v);
  }
}

template <Minima kMinima>
void multiply_as(int64_t m, int64_t n, const ByteInput& tokens, const BytePanel& panel, float* c, int64_t ldc, bool add) {
  for_tokens<kTokens>(m, [&]<int kRows>(int64_t t) {
    const ByteInput in = tokens.at(t, 0);
    if (n == kPanel) return tile<kRows, kMinima>(in, panel, c + t * ldc, ldc, add);
    narrow<kRows, kPanel>(n, c + t * ldc, ldc, add,
                          [&](float* full) { tile<kRows, kMinima>(in, panel, full, kPanel, add); });
  });
}

void multiply(Minima minima, int64_t m, int64_t n, const ByteInput& tokens, const BytePanel& panel, float* c, int64_t ldc,
              bool add) {
  switch (minima) {
    case Minima::kNone:
      return multiply_as<Minima::kNone>(m, n, tokens, panel, c, ldc, add);
    case Minima::kOfGroups:
      return multiply_as<Minima::kOfGroups>(m, n, tokens, panel, c, ldc, add);
    case Minima::kOfPairs:
      return multiply_as<Minima::kOfPairs>(m, n, tokens, panel, c, ldc, add);
  }
}

void pack(const BytePanel& rows, int64_t n, const BytePanel& out) {
  const auto words = [](auto* p) { return reinterpret_cast<int32_t*>(p); };
  const int64_t groups = out.depth / kByteGroup, groups_of_row = rows.depth / kByteGroup;
  pack_words<kPanel>(words(rows.codes), rows.depth / 4, n, out.depth / 4, words(out.codes));
  pack_words<kPanel>(words(rows.scales), groups_of_row, n, groups, words(out.scales));
  if (out.minima != nullptr) pack_words<kPanel>(words(rows.minima), groups_of_row, n, groups, words(out.minima));
}

// A group in the scale of its largest value.
inline void quantize_group(const float* x, int64_t group, const ByteInput& out) {
  const CodeScale of = code_scale<kByteGroup>(x, 127.0f);
  const Ints16 codes = each_part<Ints16>([&](int p) { return rounded(load(x + p * kLanes) * of.inverse); });
  store_low_bytes(codes, out.codes + group * kByteGroup);
  const int32_t total = sum(codes);
  out.scales[group] = of.scale;
  out.sums[group] = of.scale * static_cast<float>(total);
  out.offsets[group] = -kBias * total;
}

void quantize(const float* x, int64_t n, const ByteInput& out) {
  int64_t group = 0;
  for (; (group + 1) * kByteGroup <= n; ++group) quantize_group(x + group * kByteGroup, group, out);
  float last[kByteGroup] = {};
  std::copy(x + group * kByteGroup, x + n, last);
  for (; group < out.width / kByteGroup; ++group) {
    quantize_group(last, group, out);
    std::fill(last, last + kByteGroup, 0.0f);
  }
  for (int64_t pair = 0; pair < out.width / (2 * kByteGroup); ++pair) {
    out.pair_sums[pair] = out.sums[2 * pair] + out.sums[2 * pair + 1];
  }
}

}  // namespace

extern const BytePanels kBytePanels = {kPanel, quantize, pack, multiply};

}  // namespace steelyard::cpu::STEELYARD_TARGET

// Panels: packing, and the register tiles that multiply them. Compiled once per target (cmake/simd.cmake).
#include "compute/cpu/gemm.h"

#include "compute/cpu/codes.h"
#include "compute/cpu/tiles.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {
namespace {

constexpr int kPanel = 2 * kLanes;
// Tokens of a register tile: two sums for each, two vectors of weights and one activation fit into the registers.
// Integers need one more for a product.
constexpr int kTokens = kLanes == 16 ? 12 : 6, kTokensOfCodes = kLanes == 16 ? 12 : 5;

void pack(const float* rows, int64_t ld, int64_t n, int64_t k, float* out) {
  pack_words<kPanel>(reinterpret_cast<const int32_t*>(rows), ld, n, k, reinterpret_cast<int32_t*>(out));
}

void pack_codes(const int16_t* rows, int64_t ld, int64_t n, int64_t k, int16_t* out) {
  pack_words<kPanel>(reinterpret_cast<const int32_t*>(rows), ld / 2, n, k, reinterpret_cast<int32_t*>(out));
}

// Values that are summed one after the other, before the sum is added to c. Shorter sums lose less to rounding.
constexpr int64_t kRun = 64;

template <int kRows>
void tile(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  for (int64_t begin = 0; begin < k; begin += kRun, add = true) {
    const int64_t end = begin + kRun < k ? begin + kRun : k;
    Floats sums[kRows][2];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = Floats{};
    for (int64_t i = begin; i < end; ++i, b += ldb) {
      const Floats b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Floats x = broadcast(a[r * lda + i]);
        sums[r][0] = fma(x, b0, sums[r][0]);
        sums[r][1] = fma(x, b1, sums[r][1]);
      }
    }
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      float* to = c + r * ldc;
      store(add ? load(to) + sums[r][0] : sums[r][0], to);
      store(add ? load(to + kLanes) + sums[r][1] : sums[r][1], to + kLanes);
    }
  }
}

struct Codes {
  const int16_t* a;
  int64_t lda;
  const float* a_scales;
  int64_t lda_scales;
  const int16_t* b;
  const float* b_scales;
};

template <int kRows>
void tile_codes(int64_t n_blocks, Codes in, float* c, int64_t ldc, bool add) {
  for (int64_t block = 0; block < n_blocks; ++block, add = true) {
    Ints sums[kRows][2];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = Ints{};
    for (int i = 0; i < kCodeBlock; i += 2, in.b += 2 * kPanel) {
      const Ints b0 = load_pairs(in.b), b1 = load_pairs(in.b + 2 * kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Ints x = broadcast_pair(in.a + r * in.lda + i);
        sums[r][0] = dot_pairs(sums[r][0], x, b0);
        sums[r][1] = dot_pairs(sums[r][1], x, b1);
      }
    }
    in.a += kCodeBlock;
    const Floats s0 = load(in.b_scales + block * kPanel), s1 = load(in.b_scales + block * kPanel + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Floats scale = broadcast(in.a_scales[r * in.lda_scales + block]);
      float* to = c + r * ldc;
      store(fma(to_floats(sums[r][0]), s0 * scale, add ? load(to) : Floats{}), to);
      store(fma(to_floats(sums[r][1]), s1 * scale, add ? load(to + kLanes) : Floats{}), to + kLanes);
    }
  }
}

void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
              int64_t ldc, bool add) {
  for_tokens<kTokens>(m, [&]<int kRows>(int64_t t) {
    if (n == kPanel) return tile<kRows>(k, a + t * lda, lda, b, ldb, c + t * ldc, ldc, add);
    narrow<kRows, kPanel>(n, c + t * ldc, ldc, add,
                          [&](float* full) { tile<kRows>(k, a + t * lda, lda, b, ldb, full, kPanel, add); });
  });
}

void multiply_codes(int64_t m, int64_t n, int64_t n_blocks, const int16_t* a, int64_t lda, const float* a_scales,
                    int64_t lda_scales, const int16_t* b, const float* b_scales, float* c, int64_t ldc, bool add) {
  for_tokens<kTokensOfCodes>(m, [&]<int kRows>(int64_t t) {
    const Codes in{a + t * lda, lda, a_scales + t * lda_scales, lda_scales, b, b_scales};
    if (n == kPanel) return tile_codes<kRows>(n_blocks, in, c + t * ldc, ldc, add);
    narrow<kRows, kPanel>(n, c + t * ldc, ldc, add,
                          [&](float* full) { tile_codes<kRows>(n_blocks, in, full, kPanel, add); });
  });
}

float dot(const float* a, const float* b, int64_t n) {
  Floats sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[j] = fma(load(a + i + j * kLanes), load(b + i + j * kLanes), sums[j]);
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] = fma(load(a + i), load(b + i), sums[0]);
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

void quantize_block(const float* x, float levels, int16_t* codes, float* scale) {
  const CodeScale of = code_scale<kCodeBlock>(x, levels);
  *scale = of.scale;
  for (int i = 0; i < kCodeBlock; i += 2 * kLanes) {
    store_pairs(rounded(load(x + i) * of.inverse), rounded(load(x + i + kLanes) * of.inverse), codes + i);
  }
}

void quantize(const float* x, int64_t n, float levels, int16_t* codes, float* scales, int64_t scale_step) {
  int64_t i = 0;
  for (; i + kCodeBlock <= n; i += kCodeBlock)
    quantize_block(x + i, levels, codes + i, scales + i / kCodeBlock * scale_step);
  if (i == n) return;
  float last[kCodeBlock] = {};
  for (int64_t j = i; j < n; ++j) last[j - i] = x[j];
  quantize_block(last, levels, codes + i, scales + i / kCodeBlock * scale_step);
}

}  // namespace

extern const Gemm kGemm = {kPanel, pack, pack_codes, multiply, multiply_codes, dot, quantize};

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET

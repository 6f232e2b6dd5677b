// Panels: packing, and the register tiles that multiply them. Compiled once per instruction set (cmake/isa.cmake).
#include "compute/cpu/gemm.h"

#include "compute/cpu/simd.h"

namespace steelyard::cpu::STEELYARD_ISA {
namespace {

constexpr int kPanel = 2 * kWidth;
static_assert(kPanel <= kMaxPanel);
// Tokens of a register tile: two sums for each, two vectors of weights and one activation fit the registers; integers
// need one more for a product.
#if defined(__AVX512F__)
constexpr int kTokens = 12, kTokensOfCodes = 12;
#else
constexpr int kTokens = 6, kTokensOfCodes = 5;
#endif

typedef int32_t Four __attribute__((vector_size(16)));

inline Four load_four(const void* p) {
  Four v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}

// Four rows of four 32-bit values become columns; out rows are kPanel apart.
inline void transpose(const int32_t* const rows[4], int64_t at, int32_t* out) {
  const Four a = load_four(rows[0] + at), b = load_four(rows[1] + at), c = load_four(rows[2] + at),
             d = load_four(rows[3] + at);
  const Four ab_low = __builtin_shuffle(a, b, Four{0, 4, 1, 5}), ab_high = __builtin_shuffle(a, b, Four{2, 6, 3, 7});
  const Four cd_low = __builtin_shuffle(c, d, Four{0, 4, 1, 5}), cd_high = __builtin_shuffle(c, d, Four{2, 6, 3, 7});
  const Four columns[4] = {
      __builtin_shuffle(ab_low, cd_low, Four{0, 1, 4, 5}), __builtin_shuffle(ab_low, cd_low, Four{2, 3, 6, 7}),
      __builtin_shuffle(ab_high, cd_high, Four{0, 1, 4, 5}), __builtin_shuffle(ab_high, cd_high, Four{2, 3, 6, 7})};
  for (int i = 0; i < 4; ++i) __builtin_memcpy(out + i * kPanel, &columns[i], sizeof(Four));
}

// rows: [n, k] of 32-bit values, whatever they mean.
void pack_words(const int32_t* rows, int64_t ld, int64_t n, int64_t k, int32_t* out) {
  for (int64_t r = 0; r < kPanel; r += 4) {
    if (r + 4 > n) {  // rows that are missing are zeros
      for (int64_t j = 0; j < 4; ++j) {
        for (int64_t i = 0; i < k; ++i) out[i * kPanel + r + j] = r + j < n ? rows[(r + j) * ld + i] : 0;
      }
      continue;
    }
    const int32_t* four[4] = {rows + r * ld, rows + (r + 1) * ld, rows + (r + 2) * ld, rows + (r + 3) * ld};
    int64_t i = 0;
    for (; i + 4 <= k; i += 4) transpose(four, i, out + i * kPanel + r);
    for (; i < k; ++i) {
      for (int64_t j = 0; j < 4; ++j) out[i * kPanel + r + j] = four[j][i];
    }
  }
}

void pack(const float* rows, int64_t ld, int64_t n, int64_t k, float* out) {
  pack_words(reinterpret_cast<const int32_t*>(rows), ld, n, k, reinterpret_cast<int32_t*>(out));
}

void pack_codes(const int16_t* rows, int64_t ld, int64_t n, int64_t k, int16_t* out) {
  pack_words(reinterpret_cast<const int32_t*>(rows), ld / 2, n, k, reinterpret_cast<int32_t*>(out));
}

// Values that are summed one after the other; such sums are added to c. Shorter sums lose less to rounding.
constexpr int64_t kRun = 64;

template <int kRows>
void tile(int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, bool add) {
  for (int64_t begin = 0; begin < k; begin += kRun, add = true) {
    const int64_t end = begin + kRun < k ? begin + kRun : k;
    Floats sums[kRows][2];
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = Floats{};
    for (int64_t i = begin; i < end; ++i, b += ldb) {
      const Floats b0 = load(b), b1 = load(b + kWidth);
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
      store(to, add ? load(to) + sums[r][0] : sums[r][0]);
      store(to + kWidth, add ? load(to + kWidth) + sums[r][1] : sums[r][1]);
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
      const Ints b0 = load_pairs(in.b), b1 = load_pairs(in.b + 2 * kWidth);
#pragma GCC unroll 12
      for (int r = 0; r < kRows; ++r) {
        const Ints x = broadcast_pair(in.a + r * in.lda + i);
        sums[r][0] += multiply_pairs(x, b0);
        sums[r][1] += multiply_pairs(x, b1);
      }
    }
    in.a += kCodeBlock;
    const Floats s0 = load(in.b_scales + block * kPanel), s1 = load(in.b_scales + block * kPanel + kWidth);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const Floats scale = broadcast(in.a_scales[r * in.lda_scales + block]);
      float* to = c + r * ldc;
      store(to, fma(to_floats(sums[r][0]), s0 * scale, add ? load(to) : Floats{}));
      store(to + kWidth, fma(to_floats(sums[r][1]), s1 * scale, add ? load(to + kWidth) : Floats{}));
    }
  }
}

// Calls body<rows>(first) for tiles of kRows of m tokens and the rest.
template <int kRows, typename Body>
inline void last_tokens(int64_t first, int64_t n, const Body& body) {
  if constexpr (kRows > 0) {
    if (n == kRows)
      body.template operator()<kRows>(first);
    else
      last_tokens<kRows - 1>(first, n, body);
  }
}

template <int kRows, typename Body>
inline void for_tokens(int64_t m, const Body& body) {
  int64_t t = 0;
  for (; t + kRows <= m; t += kRows) body.template operator()<kRows>(t);
  last_tokens<kRows - 1>(t, m - t, body);
}

// A tile that is narrower than the panel goes through memory of full width.
template <int kRows, typename Body>
inline void narrow(int64_t n, float* c, int64_t ldc, bool add, const Body& body) {
  float full[kRows * kPanel];
  for (int r = 0; r < kRows; ++r) {
    for (int64_t o = 0; o < kPanel; ++o) full[r * kPanel + o] = add && o < n ? c[r * ldc + o] : 0.0f;
  }
  body(full);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t o = 0; o < n; ++o) c[r * ldc + o] = full[r * kPanel + o];
  }
}

void multiply(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
              int64_t ldc, bool add) {
  for_tokens<kTokens>(m, [&]<int kRows>(int64_t t) {
    if (n == kPanel) return tile<kRows>(k, a + t * lda, lda, b, ldb, c + t * ldc, ldc, add);
    narrow<kRows>(n, c + t * ldc, ldc, add,
                  [&](float* full) { tile<kRows>(k, a + t * lda, lda, b, ldb, full, kPanel, add); });
  });
}

void multiply_codes(int64_t m, int64_t n, int64_t n_blocks, const int16_t* a, int64_t lda, const float* a_scales,
                    int64_t lda_scales, const int16_t* b, const float* b_scales, float* c, int64_t ldc, bool add) {
  for_tokens<kTokensOfCodes>(m, [&]<int kRows>(int64_t t) {
    const Codes in{a + t * lda, lda, a_scales + t * lda_scales, lda_scales, b, b_scales};
    if (n == kPanel) return tile_codes<kRows>(n_blocks, in, c + t * ldc, ldc, add);
    narrow<kRows>(n, c + t * ldc, ldc, add, [&](float* full) { tile_codes<kRows>(n_blocks, in, full, kPanel, add); });
  });
}

float dot(const float* a, const float* b, int64_t n) {
  Floats sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[j] = fma(load(a + i + j * kWidth), load(b + i + j * kWidth), sums[j]);
  }
  for (; i + kWidth <= n; i += kWidth) sums[0] = fma(load(a + i), load(b + i), sums[0]);
  float rest = 0;
  for (; i < n; ++i) rest += a[i] * b[i];
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

// The low halves of two vectors, in order.
inline void store_low_halves(int16_t* p, Ints a, Ints b) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(a)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + kWidth), _mm512_cvtepi32_epi16(reinterpret_cast<__m512i>(b)));
#elif defined(__SSE2__)
#if defined(__AVX2__)
  const __m256i packed = _mm256_packs_epi32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
#else
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#endif
#else
  for (int i = 0; i < kWidth; ++i) {
    p[i] = static_cast<int16_t>(a[i]);
    p[kWidth + i] = static_cast<int16_t>(b[i]);
  }
#endif
}

void quantize_block(const float* x, float levels, int16_t* codes, float* scale) {
  const CodeScale of = code_scale<kCodeBlock>(x, levels);
  *scale = of.scale;
  for (int i = 0; i < kCodeBlock; i += 2 * kWidth) {
    store_low_halves(codes + i, rounded(load(x + i) * of.inverse), rounded(load(x + i + kWidth) * of.inverse));
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

}  // namespace steelyard::cpu::STEELYARD_ISA

// Loops over the blocks of a row. Compiled once per instruction set (cmake/isa.cmake).
#include "compute/cpu/rows.h"

#include <array>

#include "compute/cpu/simd.h"
#include "compute/cpu/unpack.h"
#include "formats/bf16.h"
#include "formats/f16.h"
#include "formats/f32.h"
#include "formats/f64.h"
#include "formats/integer.h"

namespace steelyard::cpu::STEELYARD_ISA {
namespace {

// Four sums side by side, so that an addition need not wait for the one before.
struct Sums {
  Floats lanes[4] = {};
  float total() const { return sum((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])); }
};

// A row is read in order once, by a thread that goes on to the next one: memory is asked for this many bytes ahead.
constexpr int64_t kAhead = 1024;

template <int kBytes>
[[gnu::always_inline]] inline void fetch_ahead(const void* block) {
  const char* at = static_cast<const char*>(block) + kAhead;
  for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(at + i);
}

// ---- types of one value per block

template <class F>
[[gnu::always_inline]] inline Floats load_values(const typename F::Block* blocks) {
#if defined(__AVX512F__)
  if constexpr (F::kType == Type::F16) return _mm512_cvtph_ps(load_bytes(blocks));
#elif defined(__AVX2__)
  if constexpr (F::kType == Type::F16)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks)));
#endif
  float values[kWidth];
  for (int i = 0; i < kWidth; ++i) values[i] = F::value(blocks[i]);
  return load(values);
}

template <class F>
void decode_values(const std::byte* bytes, int64_t n, float* out) {
  const auto* blocks = as_blocks<F>(bytes);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(out + i, load_values<F>(blocks + i));
  for (; i < n; ++i) out[i] = F::value(blocks[i]);
}

template <class F>
float dot_values(const std::byte* bytes, int64_t n, const float* x) {
  const auto* blocks = as_blocks<F>(bytes);
  Sums sums;
  int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth) {
    fetch_ahead<4 * kWidth * sizeof(typename F::Block)>(blocks + i);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      sums.lanes[j] = fma(load_values<F>(blocks + i + j * kWidth), load(x + i + j * kWidth), sums.lanes[j]);
    }
  }
  for (; i + kWidth <= n; i += kWidth) sums.lanes[0] = fma(load_values<F>(blocks + i), load(x + i), sums.lanes[0]);
  float rest = 0;
  for (; i < n; ++i) rest += F::value(blocks[i]) * x[i];
  return sums.total() + rest;
}

// ---- types of groups

// Rounded as the format says: one multiplication, one subtraction. (A product minus zero is the product.)
template <class F>
[[gnu::always_inline]] inline Floats group_values(const Groups<F>& groups, int i) {
  const int g = i / kScaleLen<F>;
  const Floats product = load(groups.q + i) * groups.scale[g];
  if constexpr (kHasMin<F>)
    return product - groups.min[g];
  else
    return product - 0.0f;
}

template <class F>
void decode_groups(const std::byte* bytes, int64_t n_blocks, float* out) {
  const auto* blocks = as_blocks<F>(bytes);
  Groups<F> groups;
  for (int64_t b = 0; b < n_blocks; ++b, out += F::kBlockLen) {
    unpack<F>(blocks[b], groups);
    for (int i = 0; i < F::kBlockLen; i += kWidth) store(out + i, group_values(groups, i));
  }
}

template <class F>
float dot_groups(const std::byte* bytes, int64_t n_blocks, const float* x) {
  const auto* blocks = as_blocks<F>(bytes);
  Sums sums;
  Groups<F> groups;
  for (int64_t b = 0; b < n_blocks; ++b, x += F::kBlockLen) {
    fetch_ahead<sizeof(typename F::Block)>(&blocks[b]);
    unpack<F>(blocks[b], groups);
    for (int i = 0; i < F::kBlockLen; i += kWidth) {
      Floats& lanes = sums.lanes[i / kWidth % 4];
      lanes = fma(group_values(groups, i), load(x + i), lanes);
    }
  }
  return sums.total();
}

// The sum of kCount products of codes, spread over lanes.
#if defined(__AVX2__)
using Partial = __m256;
template <int kCount>
[[gnu::always_inline]] inline Partial code_products(const int8_t* q, const int16_t* x) {
  __m256i sums = _mm256_setzero_si256();
  for (int i = 0; i < kCount; i += 16) {
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(q + i)));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(wide, load_bytes(x + i)));
  }
  return _mm256_cvtepi32_ps(sums);
}
inline Partial scaled(Partial products, float scale, Partial sums) {
  return _mm256_fmadd_ps(products, _mm256_set1_ps(scale), sums);
}
inline float total(Partial sums) {
  float lanes[8];
  _mm256_storeu_ps(lanes, sums);
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}
#else
using Partial = float;
template <int kCount>
inline Partial code_products(const int8_t* q, const int16_t* x) {
  int32_t products = 0;
  for (int i = 0; i < kCount; ++i) products += q[i] * x[i];
  return static_cast<float>(products);
}
inline Partial scaled(Partial products, float scale, Partial sums) { return products * scale + sums; }
inline float total(Partial sums) { return sums; }
#endif

template <class F>
float dot_codes(const std::byte* bytes, int64_t n_blocks, const CodedInput& x) {
  constexpr int kCount = Groups<F>::kCount, kLen = kScaleLen<F>;
  const auto* blocks = as_blocks<F>(bytes);
  Partial sums[2] = {};
  float minima[kCount] = {};
  Groups<F> groups;
  for (int64_t b = 0; b < n_blocks; ++b) {
    fetch_ahead<sizeof(typename F::Block)>(&blocks[b]);
    unpack<F>(blocks[b], groups);
    const int64_t begin = b * F::kBlockLen;
    float scales[kCount];
    for (int g = 0; g < kCount; ++g) {
      scales[g] = groups.scale[g] * x.scales[(begin + g * kLen) / 64];
      if constexpr (kHasMin<F>) {
        for (int i = 0; i < kLen; i += kGroupLen) {
          minima[g] += groups.min[g] * x.group_sums[(begin + g * kLen + i) / kGroupLen];
        }
      }
    }
#pragma GCC unroll 16
    for (int g = 0; g < kCount; ++g) {
      const Partial products = code_products<kLen>(groups.q + g * kLen, x.codes + begin + g * kLen);
      sums[g % 2] = scaled(products, scales[g], sums[g % 2]);
    }
  }
  float minimum = 0;
  for (const float m : minima) minimum += m;
  return total(sums[0]) + total(sums[1]) - minimum;
}

template <class F>
constexpr Rows make_rows() {
  if constexpr (Grouped<F>)
    return {decode_groups<F>, dot_groups<F>, dot_codes<F>};
  else if constexpr (Plain<F>)
    return {decode_values<F>, dot_values<F>, nullptr};
  else
    return {};
}

}  // namespace

// In the order of formats.def.
extern constinit const std::array kRows = {
#define FORMAT(name, id) make_rows<name>(),
#include "formats/formats.def"
#undef FORMAT
};

}  // namespace steelyard::cpu::STEELYARD_ISA

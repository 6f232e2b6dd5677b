// Loops over the blocks of a row. Compiled once per instruction set (cmake/isa.cmake).
#include "compute/cpu/rows.h"

#include <algorithm>
#include <array>
#include <cmath>

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
    add_scales(groups);
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
    add_scales(groups);
    for (int i = 0; i < F::kBlockLen; i += kWidth) {
      Floats& lanes = sums.lanes[i / kWidth % 4];
      lanes = fma(group_values(groups, i), load(x + i), lanes);
    }
  }
  return sums.total();
}

// Sums of products of 32 codes with 32 bytes of an activation, spread over lanes: those of the first 16 in the lower
// half of the lanes, of the others in the upper.
#if defined(__AVX2__)
using Partial = __m256;
// Of neighbours, in 16 bits.
template <bool kSigned>
[[gnu::always_inline]] inline __m256i pair_products(const int8_t* q, const int8_t* x) {
  const __m256i codes = _mm256_load_si256(reinterpret_cast<const __m256i*>(q)), bytes = load_bytes(x);
  // One factor has to be without sign. 2 * 128 * 127 < 2^15: pairs do not saturate.
  return kSigned ? _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(bytes, codes))
                 : _mm256_maddubs_epi16(codes, bytes);
}
template <bool kSigned>
[[gnu::always_inline]] inline Partial byte_products(const int8_t* q, const int8_t* x) {
  return _mm256_cvtepi32_ps(_mm256_madd_epi16(pair_products<kSigned>(q, x), _mm256_set1_epi16(1)));
}
// Sums of products of a block of 256 with the multiples of both sides, in units of both steps. They stay below 2^31:
// the largest are those of Q6_K, 32 * 127 (codes) * 128 * 127 (multiples) * 32 values per lane.
template <class F>
[[gnu::always_inline]] inline Partial block_products(const Groups<F>& groups, const int8_t* x,
                                                     const int16_t* multiples) {
  const __m256i of_input = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(multiples)));
  const __m256i of_both =
      _mm256_mullo_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(groups.multiple)), of_input);
  __m256i sums[2] = {};
#pragma GCC unroll 8
  for (int i = 0; i < kBlocksOfRange; ++i) {
    const __m256i multiple = _mm256_shuffle_epi8(of_both, _mm256_set1_epi16(static_cast<int16_t>(0x0100 + 0x0202 * i)));
    const __m256i pairs = pair_products<kSigned<F>>(groups.q + i * kByteBlock, x + i * kByteBlock);
    sums[i % 2] = _mm256_add_epi32(sums[i % 2], _mm256_madd_epi16(pairs, multiple));
  }
  return _mm256_cvtepi32_ps(_mm256_add_epi32(sums[0], sums[1]));
}
inline Partial scaled(Partial products, float low, float high, Partial sums) {
  return _mm256_fmadd_ps(products, _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low)), sums);
}
inline Partial scaled(Partial products, float scale, Partial sums) {
  return _mm256_fmadd_ps(products, _mm256_set1_ps(scale), sums);
}
inline Partial added(Partial a, Partial b) { return _mm256_add_ps(a, b); }
// sums minus the products of kCount minima with sums of the activation.
template <int kCount>
[[gnu::always_inline]] inline Partial without_minima(const float* minima, const float* input_sums, Partial sums) {
  if constexpr (kCount % 8 == 0) {
    for (int g = 0; g < kCount; g += 8) {
      sums = _mm256_fnmadd_ps(_mm256_load_ps(minima + g), _mm256_loadu_ps(input_sums + g), sums);
    }
    return sums;
  } else {
    float product = 0;
    for (int g = 0; g < kCount; ++g) product += minima[g] * input_sums[g];
    return _mm256_sub_ps(sums, _mm256_zextps128_ps256(_mm_set_ss(product)));
  }
}
inline void store_totals(const Partial sums[4], float* out) {
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}
#else
struct Partial {
  float low = 0, high = 0;
};
template <bool kSigned>
inline Partial byte_products(const int8_t* q, const int8_t* x) {
  int32_t low = 0, high = 0;
  for (int i = 0; i < kGroupLen; ++i) low += q[i] * x[i];
  for (int i = kGroupLen; i < kByteBlock; ++i) high += q[i] * x[i];
  return {static_cast<float>(low), static_cast<float>(high)};
}
inline Partial scaled(Partial products, float low, float high, Partial sums) {
  return {products.low * low + sums.low, products.high * high + sums.high};
}
inline Partial scaled(Partial products, float scale, Partial sums) { return scaled(products, scale, scale, sums); }
inline Partial added(Partial a, Partial b) { return {a.low + b.low, a.high + b.high}; }
template <int kCount>
inline Partial without_minima(const float* minima, const float* input_sums, Partial sums) {
  for (int g = 0; g < kCount; ++g) sums.low -= minima[g] * input_sums[g];
  return sums;
}
inline void store_totals(const Partial sums[4], float* out) {
  for (int r = 0; r < 4; ++r) out[r] = sums[r].low + sums[r].high;
}
#endif

template <class F>
[[gnu::always_inline]] inline Partial dot_row(const std::byte* bytes, int64_t n_blocks, const ByteInput& x) {
  constexpr int kCount = Groups<F>::kCount, kLen = kScaleLen<F>, kOfInput = kByteBlock / kLen;
  static_assert(F::kBlockLen % kByteBlock == 0 && kByteBlock % kLen == 0);
  const auto* blocks = as_blocks<F>(bytes);
  const int8_t* codes = x.codes;
  const float *input_scales = x.scales, *input_sums = kLen == kByteBlock ? x.block_sums : x.group_sums;
  Partial sums[2] = {};
  Groups<F> groups;
  for (int64_t b = 0; b < n_blocks; ++b) {
    fetch_ahead<sizeof(typename F::Block)>(&blocks[b]);
    unpack<F>(blocks[b], groups);
    if constexpr (kHasMin<F>) sums[0] = without_minima<kCount>(groups.min, input_sums, sums[0]);
    if constexpr (kHasMultiples<F>) {
      static_assert(F::kBlockLen == kByteRange);
      sums[1] =
          scaled(block_products(groups, codes, x.multiples + b * kBlocksOfRange), groups.step * x.steps[b], sums[1]);
    } else {
#pragma GCC unroll 8
      for (int i = 0; i < F::kBlockLen / kByteBlock; ++i) {
        const Partial products = byte_products<kSigned<F>>(groups.q + i * kByteBlock, codes + i * kByteBlock);
        const float* scale = groups.scale + i * kOfInput;
        if constexpr (kOfInput == 1)
          sums[i % 2] = scaled(products, scale[0] * input_scales[i], sums[i % 2]);
        else
          sums[i % 2] = scaled(products, scale[0] * input_scales[i], scale[1] * input_scales[i], sums[i % 2]);
      }
    }
    codes += F::kBlockLen;
    input_scales += F::kBlockLen / kByteBlock;
    input_sums += kCount;
  }
  return added(sums[0], sums[1]);
}

// Four rows at a time: their sums over lanes are one, and short rows overlap.
template <class F>
void dot_bytes(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t n_blocks, const ByteInput& x,
               float* out) {
  Partial sums[4];
  int64_t r = 0;
  for (; r + 4 <= n_rows; r += 4) {
    for (int i = 0; i < 4; ++i) sums[i] = dot_row<F>(rows + (r + i) * row_bytes, n_blocks, x);
    store_totals(sums, out + r);
  }
  if (r == n_rows) return;
  float last[4];
  std::fill(std::begin(sums), std::end(sums), Partial{});
  for (int64_t i = r; i < n_rows; ++i) sums[i - r] = dot_row<F>(rows + i * row_bytes, n_blocks, x);
  store_totals(sums, last);
  std::copy(last, last + (n_rows - r), out + r);
}

template <class F>
constexpr Rows make_rows() {
  if constexpr (Grouped<F>)
    return {decode_groups<F>, dot_groups<F>, dot_bytes<F>};
  else if constexpr (Plain<F>)
    return {decode_values<F>, dot_values<F>, nullptr};
  else
    return {};
}

// One block of 32 in a scale that was chosen.
inline void encode_block(const float* x, int64_t b, float inverse, const ByteInput& out) {
  int32_t codes[kByteBlock];
  for (int i = 0; i < kByteBlock; i += kWidth) {
    const Ints rounded_codes = rounded(load(x + i) * inverse);
    std::memcpy(codes + i, &rounded_codes, sizeof(rounded_codes));
  }
  int32_t low = 0, high = 0;
  for (int i = 0; i < kGroupLen; ++i) low += codes[i], high += codes[i + kGroupLen];
  for (int i = 0; i < kByteBlock; ++i) out.codes[b * kByteBlock + i] = static_cast<int8_t>(codes[i]);
  out.group_sums[2 * b] = out.scales[b] * static_cast<float>(low);
  out.group_sums[2 * b + 1] = out.scales[b] * static_cast<float>(high);
  out.block_sums[b] = out.scales[b] * static_cast<float>(low + high);
}

}  // namespace

// In the order of formats.def.
extern constinit const std::array kRows = {
#define FORMAT(name, id) make_rows<name>(),
#include "formats/formats.def"
#undef FORMAT
};

void quantize_bytes(const float* x, int64_t n, const ByteInput& out) {
  constexpr float kLevels = 127;
  for (int64_t begin = 0; begin < n; begin += kByteRange) {
    const int64_t first = begin / kByteBlock, n_blocks = std::min<int64_t>(kBlocksOfRange, n / kByteBlock - first);
    float wanted[kBlocksOfRange], largest_of = 0, nan = 0;
    for (int64_t b = 0; b < n_blocks; ++b) {
      wanted[b] = code_scale<kByteBlock>(x + begin + b * kByteBlock, kLevels).scale;
      largest_of = std::max(largest_of, wanted[b]);  // which a NaN does not change
      nan += wanted[b] * 0.0f;
    }
    const float step = largest_of / kLevels;
    out.steps[begin / kByteRange] = step + nan;
    for (int64_t b = 0; b < n_blocks; ++b) {
      // The next multiple above, so that no code exceeds the levels. Below 1e-30 the quotients could overflow.
      const float multiple = step > 1e-30f && nan == 0 ? std::min(std::ceil(wanted[b] / step), kLevels) : 0.0f;
      out.multiples[first + b] = static_cast<int16_t>(multiple);
      out.scales[first + b] = multiple * step + nan;
      encode_block(x + begin + b * kByteBlock, first + b, multiple > 0 ? 1 / (multiple * step) : 0.0f, out);
    }
  }
}

}  // namespace steelyard::cpu::STEELYARD_ISA

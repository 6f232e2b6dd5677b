// Loops over the blocks of a row. Compiled once per target (cmake/simd.cmake).
#include "compute/cpu/row_kernels.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "compute/cpu/verbs.h"
#include "formats/all.h"

namespace steelyard::compute::cpu::STEELYARD_TARGET {
namespace {

// A thread reads a row in order once, and then goes on to the next one: memory is prefetched this many bytes ahead.
constexpr int64_t kAhead = 4096;

template <int kBytes>
[[gnu::always_inline]] inline void fetch_ahead(const void* block) {
  const char* at = static_cast<const char*>(block) + kAhead;
  for (int i = 0; i < kBytes; i += 64) __builtin_prefetch(at + i);
}

// ---- types of one value per block

template <class F>
[[gnu::always_inline]] inline Floats load_values(const typename F::Block* blocks) {
  if constexpr (requires { F::values(blocks); }) {
    return F::values(blocks);
  } else {
    float values[kLanes];
    for (int i = 0; i < kLanes; ++i) values[i] = F::value(blocks[i]);
    return load(values);
  }
}

// Four separate sums, so that an addition need not wait for the one before.
template <class F>
float dot_values(const std::byte* bytes, int64_t n, const float* x) {
  const auto* blocks = formats::as_blocks<F>(bytes);
  Floats sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    fetch_ahead<4 * kLanes * sizeof(typename F::Block)>(blocks + i);
    for (int j = 0; j < 4; ++j) {
      sums[j] = fma(load_values<F>(blocks + i + j * kLanes), load(x + i + j * kLanes), sums[j]);
    }
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] = fma(load_values<F>(blocks + i), load(x + i), sums[0]);
  float rest = 0;
  for (; i < n; ++i) rest += F::value(blocks[i]) * x[i];
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3])) + rest;
}

// ---- types of groups

// Calls body(span, s) for the spans of a row; the last one is filled up with blocks of zeros.
template <class F, class Body>
[[gnu::always_inline]] inline void each_span(const std::byte* bytes, int64_t n_blocks, const Body& body) {
  constexpr int64_t kBlocks = formats::kSpanLen / F::kBlockLen;
  const auto* blocks = formats::as_blocks<F>(bytes);
  typename F::Block last[kBlocks];
  for (int64_t s = 0; s * kBlocks < n_blocks; ++s, blocks += kBlocks) {
    fetch_ahead<kBlocks * sizeof(typename F::Block)>(blocks);
    if (const int64_t rest = n_blocks - s * kBlocks; rest < kBlocks) {
      std::memset(last, 0, sizeof(last));
      std::memcpy(last, blocks, static_cast<size_t>(rest) * sizeof(typename F::Block));
      blocks = last;
    }
    formats::Span span;
    F::unpack(blocks, span);
    body(span, s);
  }
}

template <class F>
inline constexpr Factor kFactor = factor_of(F::kMaxCode, F::kHasMin);

// The products of 64 codes with as many of an activation, lane by lane.
template <class F, int kPlanes>
[[gnu::always_inline]] inline Floats16 unit_products(const Bytes& codes, const int8_t* inputs, const int32_t* fours,
                                                     int64_t width) {
  constexpr Factor kOf = kFactor<F>;
  const Bytes q = biased<kOf>(codes);
  Ints16 products[kPlanes];
  for (int p = 0; p < kPlanes; ++p) {
    const Ints16 offset = kBias<kOf> != 0 ? times_bias<kOf>(load16(fours + p * (width / 4))) : repeat16(0);
    products[p] = dot<kOf>(offset, q, load_bytes(inputs + p * width));
  }
  if constexpr (kPlanes == 1) return to_floats(products[0]);
  // The lower planes together stay below 2^26.
  else
    return fma(to_floats(products[0]), broadcast16(255.0f * 255.0f), to_floats(next_digit(products[1], products[2])));
}

// A row with kTokens tokens: unpacked once for all of them. Each has sums of its own, taken in the same order however
// many there are.
template <class F, int kPlanes, int kTokens>
[[gnu::always_inline]] inline void dot_row(const std::byte* bytes, int64_t n_blocks, const ByteInput& x, float* out,
                                           int64_t out_stride) {
  const int64_t groups = x.width / formats::kGroupLen, values = x.width * kPlanes;
  Floats16 sums[kTokens][2];
  unrolled<kTokens>([&]<int t>() { sums[t][0] = sums[t][1] = broadcast16(0); });
  each_span<F>(
      bytes, n_blocks, [&](const formats::Span& span, int64_t s) __attribute__((always_inline)) {
        unrolled<kTokens>([&]<int t>() __attribute__((always_inline)) {
          const int64_t group = t * groups + s * formats::kGroupLen;
          if constexpr (F::kHasMin) sums[t][0] = subtract_product(sums[t][0], span.min, load16(x.sums + group));
          const Floats16 scale = span.scale * load16(x.scales + group);
          unrolled<4>([&]<int k>() __attribute__((always_inline)) {
            const int64_t at = t * values + s * formats::kSpanLen + k * 64;
            const Floats16 products = unit_products<F, kPlanes>(span.codes[k], x.codes + at, x.fours + at / 4, x.width);
            sums[t][k % 2] = fma(products, spread_groups<k>(scale), sums[t][k % 2]);
          });
        });
      });
  unrolled<kTokens>([&]<int t>() { out[t * out_stride] = sum(sums[t][0] + sums[t][1]); });
}

// So many that their sums stay in registers. With three planes there is more to do for each than to unpack, and without
// wide registers, too.
template <int kPlanes>
inline constexpr int kTokensAtOnce = kPlanes == 3 || kLanes < 8 ? 1 : 4;

template <class F, int kPlanes>
[[gnu::always_inline]] inline void dot_tokens(const std::byte* row, int64_t n_blocks, const ByteInput& x,
                                              int64_t n_tokens, float* out, int64_t out_stride) {
  constexpr int kTokens = kTokensAtOnce<kPlanes>;
  int64_t t = 0;
  for (; t + kTokens <= n_tokens; t += kTokens)
    dot_row<F, kPlanes, kTokens>(row, n_blocks, x.at(t, 0), out + t * out_stride, out_stride);
  if constexpr (kTokens > 1) {
    for (; t < n_tokens; ++t) dot_row<F, kPlanes, 1>(row, n_blocks, x.at(t, 0), out + t * out_stride, out_stride);
  }
}

template <class F, int kPlanes>
[[gnu::flatten]] void dot_bytes(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t n_blocks,
                                const ByteInput& x, int64_t n_tokens, float* out, int64_t out_stride) {
  for (int64_t r = 0; r < n_rows; ++r)
    dot_tokens<F, kPlanes>(rows + r * row_bytes, n_blocks, x, n_tokens, out + r, out_stride);
}

template <class F>
[[gnu::flatten]] void unpack_rows(const std::byte* rows, int64_t row_bytes, int64_t n_rows, int64_t n_blocks,
                                  const BytePanel& out) {
  const int64_t width = out.depth, groups = width / kByteGroup;
  for (int64_t r = 0; r < n_rows; ++r) {
    each_span<F>(
        rows + r * row_bytes, n_blocks, [&](const formats::Span& span, int64_t s) __attribute__((always_inline)) {
          std::byte* codes = out.codes + r * width + s * formats::kSpanLen;
          for (int k = 0; k < 4; ++k) store(biased<kFactor<F>>(span.codes[k]), codes + k * 64);
          store(span.scale, out.scales + r * groups + s * formats::kGroupLen);
          if constexpr (F::kHasMin) store(span.min, out.minima + r * groups + s * formats::kGroupLen);
        });
  }
}

template <class F>
constexpr RowKernels make_row_kernels() {
  if constexpr (formats::Grouped<F>) {
    return {nullptr, dot_bytes<F, 1>, dot_bytes<F, 3>, unpack_rows<F>, panel_kind(kFactor<F>, F::kScaleLen)};
  } else if constexpr (formats::Plain<F>) {
    return {dot_values<F>, nullptr, nullptr, nullptr, {}};
  } else {
    return {};
  }
}

}  // namespace

// In the order of formats.def.
extern constinit const std::array kRowKernels = {
#define FORMAT(name, id) make_row_kernels<formats::name>(),
#include "formats/formats.def"
#undef FORMAT
};

}  // namespace steelyard::compute::cpu::STEELYARD_TARGET

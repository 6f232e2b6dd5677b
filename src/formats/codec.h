// From a format's traits struct to its entry in the registry.
//
// Every <type>.h describes one GGUF type as a struct (named as GGUF spells it) and <type>.cc turns that struct into the
// registered `Format` with make_format. The loops over blocks and groups live here, once for all types. A traits struct
// has these members:
//
//   static constexpr Type kType;
//   static constexpr int kBlockLen;                     values per block
//   struct Block;                                       the bytes of one block; [[gnu::packed]], so alignment 1
//   static constexpr Importance kImportance;
//   static constexpr std::optional<Type> kFallback;
//
// Quantized types, whose kBlockLen is a multiple of 16:
//
//   STEELYARD_HD static void unpack(const Block&, int g, Group&);
//   STEELYARD_HD static void unpack(const Block*, Span&);   the same for the blocks of 256 values at once (span.h)
//   static constexpr int kMaxCode;                      the largest magnitude of a code
//   static constexpr bool kHasMin;                      whether there are minima, and then no codes below zero
//   static constexpr int kScaleLen;                     16, or 32 where that many values share scale and minimum
//
// Floating-point types with blocks of one value (plain.h); integers have neither:
//
//   static float value(const Block&);
//   static Floats values(const Block*);                 the same of kLanes blocks; may be left out
//
// Where the numbers of Format::read_scales are not members of Block that are halves named d, and d_min, dmin or m:
//
//   static constexpr int kStoredScales;
//   STEELYARD_HD static void read_scales(const Block&, float* scales);
//   STEELYARD_HD static void write_scales(const float* scales, Block&);
//
// If the type can be written by quantizing, the steps of formats/encoder.h, most of them from a base that types of one
// kind share (formats/search/*_encoder.h, one_scale.h, affine.h):
//
//   static constexpr int kVectorDim;
//   struct Scales;                                      trivially copyable, at most kMaxScalesBytes
//   static void objective(const float* x, const float* importance, float* w);
//       left out where it is importance_objective
//   static Scales fit(const float* x, const float* w, Effort effort);
//   static Scales fit(const float* x, const float* w, Effort effort, uint32_t* codes);
//       one of the two: the search leaves the codes to round, or returns them, too
//   static uint32_t round(const float* x, const float* w, const Scales&, int position, float* values);
//   static void rescale(const float* x, const float* w, int position, Effort effort, Scales&);
//       with kSubBlocks, where a block has several
//   static void refit(const float* x, const float* w, const uint32_t* codes, Scales&);
//   static void pack(const Scales&, const uint32_t* codes, Block&);
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include "base/half.h"
#include "formats/format.h"
#include "formats/search/search.h"
#include "formats/span.h"
#include "simd/this_target.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

// Each Format is defined in its type's .cc file.
#define FORMAT(name, id) extern const Format k##name##Format;
#include "formats/formats.def"
#undef FORMAT

template <class F>
concept Grouped = requires(const typename F::Block& block, Group& out) {
  F::unpack(block, 0, out);
};

template <class F>
concept Plain = requires(const typename F::Block& block) {
  F::value(block);
};

template <class F>
concept Encodable = requires {
  typename F::Scales;
};

/// Sub-blocks have scales of their own, which can be chosen again one by one.
template <class F>
concept Rescalable = requires(typename F::Scales& scales) {
  F::rescale(nullptr, nullptr, 0, Effort::kNormal, scales);
};

/// A struct (a Block, or a part of one) with a half d, and perhaps another, under which values are linear.
template <class T>
concept HasScale = requires(T part) {
  requires std::is_same_v<decltype(part.d), Half>;
};

/// How many these are; 0 in other structs.
template <class T>
constexpr int count_halves() {
  int n = 0;
  if constexpr (HasScale<T>) ++n;
  if constexpr (requires(T part) { part.d_min; }) ++n;
  if constexpr (requires(T part) { part.dmin; }) ++n;
  if constexpr (requires(T part) { part.m; }) ++n;
  return n;
}

/// Its halves as numbers, and numbers as its halves.
template <HasScale T>
STEELYARD_HD void read_halves(const T& part, float* scales) {
  scales[0] = to_float(part.d);
  if constexpr (requires { part.d_min; }) scales[1] = to_float(part.d_min);
  if constexpr (requires { part.dmin; }) scales[1] = to_float(part.dmin);
  if constexpr (requires { part.m; }) scales[1] = to_float(part.m);
}
template <HasScale T>
STEELYARD_HD void write_halves(const float* scales, T& part) {
  part.d = finite_half(scales[0]);
  if constexpr (requires { part.d_min; }) part.d_min = finite_half(scales[1]);
  if constexpr (requires { part.dmin; }) part.dmin = finite_half(scales[1]);
  if constexpr (requires { part.m; }) part.m = finite_half(scales[1]);
}

/// Format::n_scales, read_scales and write_scales of F.
template <class F>
inline constexpr int kStoredScales = [] {
  if constexpr (requires { F::kStoredScales; })
    return F::kStoredScales;
  else
    return count_halves<typename F::Block>();
}();

template <class F>
concept StoresScales = (kStoredScales<F> > 0);

template <StoresScales F>
STEELYARD_HD void read_scales(const typename F::Block& block, float* scales) {
  if constexpr (requires { F::read_scales(block, scales); })
    F::read_scales(block, scales);
  else
    read_halves(block, scales);
}

template <StoresScales F>
STEELYARD_HD void write_scales(const float* scales, typename F::Block& block) {
  if constexpr (requires { F::write_scales(scales, block); })
    F::write_scales(scales, block);
  else
    write_halves(scales, block);
}

constexpr std::string_view type_name(Type type) {
  switch (type) {
#define FORMAT(name, id) \
  case Type::name:       \
    return #name;
#include "formats/formats.def"
#undef FORMAT
  }
  return {};
}

/// Block bytes as blocks. Any address is allowed, because the alignment of a Block is 1.
template <class F>
STEELYARD_HD const typename F::Block* as_blocks(const std::byte* bytes) {
  return reinterpret_cast<const typename F::Block*>(bytes);
}

/// The values of a group: one multiplication and one subtraction each, rounded separately (-ffp-contract=off).
STEELYARD_HD inline void group_values(const Group& group, float* out) {
  for (int i = 0; i < kGroupLen; ++i) out[i] = group.scale * static_cast<float>(group.q[i]) - group.min;
}

/// The values of a span: the k-th quarter of its i-th codes is group 4 i + k.
template <bool kHasMin>
STEELYARD_HD void span_values(const Span& span, float* out) {
  alignas(64) float scale[16], min[16];
  store(span.scale, scale);
  if constexpr (kHasMin) store(span.min, min);
  unrolled<16>([&]<int g>() {
    const Floats16 product = to_floats<g % 4>(span.codes[g / 4]) * broadcast16(scale[g]);
    if constexpr (kHasMin)
      store(product - broadcast16(min[g]), out + g * kGroupLen);
    else
      store(product, out + g * kGroupLen);
  });
}

template <class F>
STEELYARD_HD void decode_blocks(const std::byte* bytes, int64_t n_blocks, float* out) {
  const auto* blocks = as_blocks<F>(bytes);
  int64_t b = 0;
  if constexpr (Grouped<F> && kLanes > 1 && !kLanesAreThreads) {
    constexpr int kBlocks = kSpanLen / F::kBlockLen;
    for (; b + kBlocks <= n_blocks; b += kBlocks, out += kSpanLen) {
      Span span;
      F::unpack(blocks + b, span);
      span_values<F::kHasMin>(span, out);
    }
  }
  if constexpr (requires { F::values(blocks); }) {
    for (; b + kLanes <= n_blocks; b += kLanes, out += kLanes) store(F::values(blocks + b), out);
  }
  for (; b < n_blocks; ++b) {
    if constexpr (Grouped<F>) {
      each(F::kBlockLen / kGroupLen, [&](int g) {
        Group group;
        F::unpack(blocks[b], g, group);
        group_values(group, out + g * kGroupLen);
      });
      out += F::kBlockLen;
    } else {
      *out++ = F::value(blocks[b]);
    }
  }
}

template <class F>
void unpack_group(const std::byte* block, int g, Group& out) {
  F::unpack(*as_blocks<F>(block), g, out);
}

template <Encodable F>
STEELYARD_HD void objective(const float* x, const float* importance, float* w) {
  if constexpr (requires { F::objective(x, importance, w); })
    F::objective(x, importance, w);
  else
    importance_objective(x, importance, F::kBlockLen, w);
}

/// Rounds a whole block; returns its weighted squared error.
template <Encodable F>
STEELYARD_HD double round_block(const float* x, const float* w, const typename F::Scales& scales, uint32_t* codes) {
  double error = 0.0;
  for (int i = 0; i < F::kBlockLen; i += F::kVectorDim) {
    float values[F::kVectorDim];
    codes[i / F::kVectorDim] = F::round(x + i, w + i, scales, i, values);
    for (int j = 0; j < F::kVectorDim; ++j) {
      const double difference = static_cast<double>(x[i + j]) - static_cast<double>(values[j]);
      error += static_cast<double>(w[i + j]) * difference * difference;
    }
  }
  return error;
}

/// Scales and codes of a block. Where the format's search leaves the codes to round, the scales are refitted to the
/// codes if that lowers the error.
template <Encodable F>
STEELYARD_HD typename F::Scales fit_block(const float* x, const float* w, Effort effort, uint32_t* codes) {
  if constexpr (requires { F::fit(x, w, effort, codes); }) {
    return F::fit(x, w, effort, codes);
  } else {
    const typename F::Scales fitted = F::fit(x, w, effort);
    const double fitted_error = round_block<F>(x, w, fitted, codes);
    typename F::Scales refitted = fitted;
    F::refit(x, w, codes, refitted);
    if (std::memcmp(&refitted, &fitted, sizeof(fitted)) == 0) return fitted;

    uint32_t refitted_codes[F::kBlockLen / F::kVectorDim];
    if (round_block<F>(x, w, refitted, refitted_codes) >= fitted_error) return fitted;
    std::memcpy(codes, refitted_codes, sizeof(refitted_codes));
    return refitted;
  }
}

STEELYARD_HD inline bool all_zero(const float* x, int n) {
  for (int i = 0; i < n; i += kLanes) {
    if (lane_bits(load(x + i) == Floats{}) != (1u << kLanes) - 1) return false;
  }
  return true;
}

/// Multiplies the scales that a block's sub-blocks share.
template <class Scales>
STEELYARD_HD void multiply_scales(float factor, Scales& scales) {
  scales.d = finite_half(to_float(scales.d) * factor);
  if constexpr (requires { scales.d_min; }) scales.d_min = finite_half(to_float(scales.d_min) * factor);
  if constexpr (requires { scales.m; }) scales.m = finite_half(to_float(scales.m) * factor);
}

/// Shrinkage compensation. Rounding for the least error shrinks a block: its projection on itself, sum w x q / sum w
/// x^2, falls below 1 by the relative error. Over a layer such losses add up, while the rest of the error averages out.
/// So a block gets back kShare of its loss: it is scaled to the length that is best for values inflated by that share.
/// The share was measured (docs/results/objective.md).
template <Encodable F>
STEELYARD_HD void compensate_shrinkage(const float* x, const float* w, const uint32_t* codes,
                                       typename F::Scales& scales, typename F::Block& block) {
  constexpr float kShare = 0.7f;
  constexpr float kWorthIt = 1e-3f;  // of a scale; about what a half can tell apart
  constexpr float kMaxExcess = 0.25f;
  Common<float[F::kBlockLen]> values;
  decode_blocks<F>(reinterpret_cast<const std::byte*>(&block), 1, *values);
  LaneSum xx, xq, qq;
  for (int i = 0; i < F::kBlockLen; i += kLanes) {
    const Floats wx = load(w + i) * load(x + i), value = load(*values + i);
    xx.add(i, wx * load(x + i));
    xq.add(i, wx * value);
    qq.add(i, load(w + i) * value * value);
  }
  const float kept = xq.total();
  const float length = qq.total();
  const float excess = kShare * (xx.total() / kept - 1.0f);
  if (!(excess > kWorthIt && kept > 0.5f * length)) return;  // nor where a sum overflows
  once([&] {
    multiply_scales((1.0f + (excess < kMaxExcess ? excess : kMaxExcess)) * kept / length, scales);
    F::pack(scales, codes, block);
  });
}

template <Encodable F>
STEELYARD_HD void encode_blocks(const float* x, const float* importance, int64_t n_blocks, Effort effort,
                                std::byte* out) {
  auto* blocks = reinterpret_cast<typename F::Block*>(out);
  for (int64_t b = 0; b < n_blocks; ++b, x += F::kBlockLen) {
    if (F::kBlockLen > 1 && all_zero(x, F::kBlockLen)) {
      once([&] { std::memset(&blocks[b], 0, sizeof(blocks[b])); });
      continue;
    }
    Common<float[F::kBlockLen]> w;
    Common<uint32_t[F::kBlockLen / F::kVectorDim]> codes;
    Common<typename F::Scales> scales;
    objective<F>(x, importance == nullptr ? nullptr : importance + b * F::kBlockLen, *w);
    assign(*scales, fit_block<F>(x, *w, effort, *codes));
    once([&] { F::pack(*scales, *codes, blocks[b]); });
    if constexpr (Grouped<F> && requires { scales->d; }) compensate_shrinkage<F>(x, *w, *codes, *scales, blocks[b]);
  }
}

/// The steps of F behind untyped pointers.
template <Encodable F>
constexpr Encoder make_encoder() {
  using Scales = typename F::Scales;
  static_assert(std::is_trivially_copyable_v<Scales> && sizeof(Scales) <= kMaxScalesBytes && alignof(Scales) <= 16);
  static_assert(F::kVectorDim <= kMaxVectorDim && F::kBlockLen % F::kVectorDim == 0);
  Encoder encoder = {
      .vector_dim = F::kVectorDim,
      .sub_block = F::kBlockLen,
      .objective = objective<F>,
      .fit = [](const float* x, const float* w, Effort effort, void* scales,
                uint32_t* codes) { new (scales) Scales(fit_block<F>(x, w, effort, codes)); },
      .round = [](const float* x, const float* w, const void* scales, int position, float* values) -> uint32_t {
        return F::round(x, w, *static_cast<const Scales*>(scales), position, values);
      },
      .rescale = nullptr,
      .refit = [](const float* x, const float* w, const uint32_t* codes,
                  void* scales) { F::refit(x, w, codes, *static_cast<Scales*>(scales)); },
      .pack =
          [](const void* scales, const uint32_t* codes, std::byte* block) {
            F::pack(*static_cast<const Scales*>(scales), codes, *reinterpret_cast<typename F::Block*>(block));
          },
      .encode_row = encode_blocks<F>,
  };
  if constexpr (Rescalable<F>) {
    encoder.sub_block = F::kBlockLen / F::kSubBlocks;
    encoder.rescale = [](const float* x, const float* w, int position, Effort effort, void* scales) {
      F::rescale(x, w, position, effort, *static_cast<Scales*>(scales));
    };
  }
  return encoder;
}

template <Encodable F>
inline constexpr Encoder kEncoder = make_encoder<F>();

template <class F>
constexpr Format make_format() {
  static_assert(std::endian::native == std::endian::little, "blocks are read in place and GGUF is little-endian");
  static_assert(alignof(typename F::Block) == 1 && std::is_trivially_copyable_v<typename F::Block>);
  static_assert(F::kBlockLen <= kMaxBlockLen && (F::kBlockLen % kGroupLen == 0 || !Grouped<F>));
  static_assert(kStoredScales<F> <= kMaxStoredScales);
  if constexpr (Grouped<F>) static_assert(kStoredScales<F> == 0 || kStoredScales<F> == (F::kHasMin ? 2 : 1));
  Format format = {
      .type = F::kType,
      .name = type_name(F::kType),
      .block_len = F::kBlockLen,
      .block_bytes = sizeof(typename F::Block),
      .target = STEELYARD_STRING(STEELYARD_TARGET),
      .importance = F::kImportance,
      .fallback = F::kFallback,
      .decode = nullptr,
      .unpack = nullptr,
      .n_scales = kStoredScales<F>,
      .read_scales = nullptr,
      .write_scales = nullptr,
      .encoder = nullptr,
  };
  if constexpr (Grouped<F> || Plain<F>) format.decode = decode_blocks<F>;
  if constexpr (Grouped<F>) format.unpack = unpack_group<F>;
  if constexpr (StoresScales<F>) {
    format.read_scales = [](const std::byte* block, float* scales) { read_scales<F>(*as_blocks<F>(block), scales); };
    format.write_scales = [](const float* scales, std::byte* block) {
      write_scales<F>(scales, *reinterpret_cast<typename F::Block*>(block));
    };
  }
  if constexpr (Encodable<F>) format.encoder = &kEncoder<F>;
  return format;
}

}  // namespace steelyard::formats::inline STEELYARD_TARGET

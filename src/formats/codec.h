// From a format's traits struct to its entry in the registry.
//
// Every <type>.h describes one GGUF type as a struct (named as GGUF spells it) and <type>.cc turns that struct into the
// registered `Format` with make_format. The loops over blocks and groups live here, once for all types. A traits struct
// has these members:
//
//   static constexpr Type kType;
//   static constexpr int kBlockLen;                   values per block
//   struct Block;                                     the bytes of one block; [[gnu::packed]], so alignment 1
//   static constexpr Importance kImportance;
//   static constexpr std::optional<Type> kFallback;
//   static void unpack(const Block&, int g, Group&);  quantized types (kBlockLen a multiple of 16), STEELYARD_HD
//   static float value(const Block&);                 floating-point types with blocks of one value; integers: neither
//
// and, if the type can be written by quantizing, the steps of formats/encoder.h:
//
//   static constexpr int kJoint;
//   struct Scales;                                    trivially copyable, at most kMaxScalesBytes
//   static void objective(const float* x, const float* importance, float* w);
//   static Scales fit(const float* x, const float* w);
//   static uint32_t round(const float* x, const float* w, const Scales&, int position, float* values);
//   static void refit(const float* x, const float* w, const uint32_t* codes, Scales&);
//   static void pack(const Scales&, const uint32_t* codes, Block&);
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>

#include "formats/format.h"

namespace steelyard {

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

/// Block bytes as blocks. Any address will do, since the alignment of a Block is 1.
template <class F>
const typename F::Block* as_blocks(const std::byte* bytes) {
  return reinterpret_cast<const typename F::Block*>(bytes);
}

/// The values of a group: one multiplication and one subtraction each, rounded separately (-ffp-contract=off).
inline void group_values(const Group& group, float* out) {
  for (int i = 0; i < kGroupLen; ++i) out[i] = group.scale * static_cast<float>(group.q[i]) - group.min;
}

template <class F>
void decode_blocks(const std::byte* bytes, int64_t n_blocks, float* out) {
  const auto* blocks = as_blocks<F>(bytes);
  for (int64_t b = 0; b < n_blocks; ++b) {
    if constexpr (Grouped<F>) {
      for (int g = 0; g < F::kBlockLen / kGroupLen; ++g, out += kGroupLen) {
        Group group;
        F::unpack(blocks[b], g, group);
        group_values(group, out);
      }
    } else {
      *out++ = F::value(blocks[b]);
    }
  }
}

template <class F>
void unpack_group(const std::byte* block, int g, Group& out) {
  F::unpack(*as_blocks<F>(block), g, out);
}

/// Rounds a whole block; returns its weighted squared error.
template <Encodable F>
double round_block(const float* x, const float* w, const typename F::Scales& scales, uint32_t* codes) {
  double error = 0.0;
  for (int i = 0; i < F::kBlockLen; i += F::kJoint) {
    float values[F::kJoint];
    codes[i / F::kJoint] = F::round(x + i, w + i, scales, i, values);
    for (int j = 0; j < F::kJoint; ++j) {
      const double difference = static_cast<double>(x[i + j]) - static_cast<double>(values[j]);
      error += static_cast<double>(w[i + j]) * difference * difference;
    }
  }
  return error;
}

template <Encodable F>
void encode_blocks(const float* x, const float* importance, int64_t n_blocks, std::byte* out) {
  auto* blocks = reinterpret_cast<typename F::Block*>(out);
  for (int64_t b = 0; b < n_blocks; ++b, x += F::kBlockLen) {
    float w[F::kBlockLen];
    F::objective(x, importance == nullptr ? nullptr : importance + b * F::kBlockLen, w);

    const typename F::Scales fitted = F::fit(x, w);
    uint32_t fitted_codes[F::kBlockLen / F::kJoint];
    const double fitted_error = round_block<F>(x, w, fitted, fitted_codes);

    typename F::Scales refitted = fitted;
    F::refit(x, w, fitted_codes, refitted);
    if (std::memcmp(&refitted, &fitted, sizeof(fitted)) == 0) {
      F::pack(fitted, fitted_codes, blocks[b]);
      continue;
    }
    uint32_t refitted_codes[F::kBlockLen / F::kJoint];
    const double refitted_error = round_block<F>(x, w, refitted, refitted_codes);

    if (refitted_error < fitted_error) {
      F::pack(refitted, refitted_codes, blocks[b]);
    } else {
      F::pack(fitted, fitted_codes, blocks[b]);
    }
  }
}

/// The steps of F behind untyped pointers.
template <Encodable F>
constexpr Encoder make_encoder() {
  using Scales = typename F::Scales;
  static_assert(std::is_trivially_copyable_v<Scales> && sizeof(Scales) <= kMaxScalesBytes && alignof(Scales) <= 16);
  static_assert(F::kJoint <= kMaxJoint && F::kBlockLen % F::kJoint == 0);
  return {
      .joint = F::kJoint,
      .objective = F::objective,
      .fit = [](const float* x, const float* w, void* scales) { new (scales) Scales(F::fit(x, w)); },
      .round = [](const float* x, const float* w, const void* scales, int position, float* values) -> uint32_t {
        return F::round(x, w, *static_cast<const Scales*>(scales), position, values);
      },
      .refit = [](const float* x, const float* w, const uint32_t* codes,
                  void* scales) { F::refit(x, w, codes, *static_cast<Scales*>(scales)); },
      .pack =
          [](const void* scales, const uint32_t* codes, std::byte* block) {
            F::pack(*static_cast<const Scales*>(scales), codes, *reinterpret_cast<typename F::Block*>(block));
          },
      .encode_row = encode_blocks<F>,
  };
}

template <Encodable F>
inline constexpr Encoder kEncoder = make_encoder<F>();

template <class F>
constexpr Format make_format() {
  static_assert(std::endian::native == std::endian::little, "blocks are read in place and GGUF is little-endian");
  static_assert(alignof(typename F::Block) == 1 && std::is_trivially_copyable_v<typename F::Block>);
  static_assert(F::kBlockLen <= kMaxBlockLen && (F::kBlockLen % kGroupLen == 0 || !Grouped<F>));
  Format format = {
      .type = F::kType,
      .name = type_name(F::kType),
      .block_len = F::kBlockLen,
      .block_bytes = sizeof(typename F::Block),
      .importance = F::kImportance,
      .fallback = F::kFallback,
      .decode = nullptr,
      .unpack = nullptr,
      .encoder = nullptr,
  };
  if constexpr (Grouped<F> || Plain<F>) format.decode = decode_blocks<F>;
  if constexpr (Grouped<F>) format.unpack = unpack_group<F>;
  if constexpr (Encodable<F>) format.encoder = &kEncoder<F>;
  return format;
}

}  // namespace steelyard

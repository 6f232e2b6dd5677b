// The registry of GGUF tensor types. It answers what a reader, a plan or a kernel needs to know about a type.
//
// Generated from formats.def. Each type has one pair of files that defines its `Format`. No code outside src/formats
// switches on a Type.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "formats/encoder.h"
#include "formats/group.h"
#include "simd/target.h"

namespace steelyard::formats {

/// GGUF tensor types; the value is the ggml type id in the file.
enum class Type : uint32_t {
#define FORMAT(name, id) name = id,
#include "formats/formats.def"
#undef FORMAT
};

/// How the encoder of a type treats importance.
enum class Importance {
  kIgnored,   ///< the encoder has no use for it
  kUsed,      ///< better with it, works without
  kRequired,  ///< unusable results without it (1- and 2-bit codebooks)
};

/// The most numbers that Format::read_scales gives.
inline constexpr int kMaxStoredScales = 2;

/// One type. All function pointers take whole blocks; none allocates, throws, prints or starts threads.
struct Format {
  Type type;
  std::string_view name;    ///< as GGUF spells it, e.g. "IQ2_S"
  int block_len;            ///< values per block
  int block_bytes;          ///< bytes per block
  std::string_view target;  ///< what its functions were compiled for (simd/target.h); no other difference
  Importance importance;

  /// The fallback where a row does not divide into blocks of this type; none for types with block_len 1.
  std::optional<Type> fallback;

  /// Decodes `n_blocks` blocks to n_blocks * block_len floats, bit-exact to ggml's rules. Null for integer types.
  void (*decode)(const std::byte* blocks, int64_t n_blocks, float* out);

  /// Unpacks group `g` (16 values: 16g .. 16g+15) of one block. Null for types without groups (F32, F16, BF16, F64,
  /// integers).
  void (*unpack)(const std::byte* block, int g, Group& out);

  /// How many numbers a block stores that its values are linear in and that can be set freely, so that they can be
  /// tuned while the codes stay: value i = sum over k of scales[k] * unit[k][i], where unit[k] is what decode gives for
  /// the block with scales[k] = 1 and the others 0 (equal but for float rounding). They are halves: d, and d_min, dmin
  /// or m where there are minima or offsets; of F32 the value itself. 0 where there are none (exponents, E4M3 scales,
  /// integers, F16, BF16, F64).
  int n_scales;

  /// These numbers of one block: [n_scales]. Null when n_scales is 0.
  void (*read_scales)(const std::byte* block, float* scales);

  /// Stores them: each becomes the nearest half, or the largest finite one of its sign (of F32 the value as it is). No
  /// other bit of the block changes. None may be a NaN. Null when n_scales is 0.
  void (*write_scales)(const float* scales, std::byte* block);

  /// Null for types that cannot be written by quantizing.
  const Encoder* encoder;

  bool is_quantized() const { return block_len > 1; }
};

/// The format of a type known to the registry, compiled for simd::chosen_target() or for `target`, which the processor
/// must support.
const Format& format(Type type);
const Format& format(Type type, simd::Target target);

/// Look-up of numbers and names from outside; null when unknown. Names are matched without regard to case.
const Format* find_format(uint32_t ggml_id);
const Format* find_format(std::string_view name);

/// All formats in the order of formats.def, for simd::chosen_target().
std::span<const Format* const> all_formats();

/// Bytes of a row of `n` values, or nothing when n is not a multiple of the block length or the product overflows.
std::optional<uint64_t> row_bytes(const Format& format, uint64_t n);

}  // namespace steelyard::formats

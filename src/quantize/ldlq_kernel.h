// Tiles of rows on the CPU: compiled once per target (ldlq.simd.cc), called by ldlq.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/format.h"
#include "formats/ldlq_inputs.h"

namespace steelyard::quantize {

/// Rows that pass through the columns together: enough to multiply matrices, few enough to distribute over threads.
inline constexpr int kLdlqTileRows = 32;

/// A block's scales in any type.
struct AnyScales {
  alignas(16) std::byte bytes[formats::kMaxScalesBytes];
};

/// The work space of a tile.
struct LdlqWorkspace {
  float* errors;      ///< [kLdlqTileRows, n]
  float* products;    ///< [kLdlqTileRows, kPanelLen]
  AnyScales* scales;  ///< [kLdlqTileRows, n / block_len]
  uint32_t* codes;    ///< [kLdlqTileRows, n / vector_dim]
};

/// Writes n_rows <= kLdlqTileRows rows [n] as blocks of `format`.
using LdlqKernel = void (*)(const formats::Format& format, const formats::LdlqInputs& inputs, const float* rows,
                            int64_t n_rows, const LdlqWorkspace& memory, std::byte* out);

}  // namespace steelyard::quantize

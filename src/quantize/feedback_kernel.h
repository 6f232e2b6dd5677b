// Tiles of rows on the CPU: compiled once per target (feedback.simd.cc), called by feedback.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/feedback_inputs.h"
#include "formats/format.h"

namespace steelyard {

/// Rows that pass through the columns together: enough to multiply matrices, few enough to distribute over threads.
inline constexpr int kFeedbackRows = 32;

/// A block's scales in any type.
struct AnyScales {
  alignas(16) std::byte bytes[kMaxScalesBytes];
};

/// The work space of a tile.
struct FeedbackMemory {
  float* errors;      ///< [kFeedbackRows, n]
  float* products;    ///< [kFeedbackRows, kPanelLen]
  AnyScales* scales;  ///< [kFeedbackRows, n / block_len]
  uint32_t* codes;    ///< [kFeedbackRows, n / joint]
};

/// Writes n_rows <= kFeedbackRows rows [n] as blocks of `format`.
using FeedbackKernel = void (*)(const Format& format, const FeedbackInputs& inputs, const float* rows, int64_t n_rows,
                                const FeedbackMemory& memory, std::byte* out);

}  // namespace steelyard

// Tiles of rows on the processor: compiled once per instruction set (feedback.isa.cc), called by feedback.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "formats/feedback_inputs.h"
#include "formats/format.h"

namespace steelyard {

/// Rows that pass through the columns together: enough for the products to be of matrices, few enough to share out.
inline constexpr int kFeedbackRows = 32;

/// A block's scales in any type.
struct AnyScales {
  alignas(16) std::byte bytes[kMaxScalesBytes];
};

/// Writes n_rows <= kFeedbackRows rows [n] as blocks of `format`. The memory's arrays are those of kFeedbackRows rows.
using FeedbackKernel = void (*)(const Format& format, const FeedbackInputs& inputs, const float* rows, int64_t n_rows,
                                const FeedbackMemory<AnyScales>& memory, std::byte* out);

}  // namespace steelyard

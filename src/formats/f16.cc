#include "formats/f16.h"

#include "formats/search/search.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

F16::Block F16::encode(float value) { return {finite_half(value)}; }

constinit const Format kF16Format = make_format<F16>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

#include "formats/f32.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

F32::Block F32::encode(float value) { return {value}; }

constinit const Format kF32Format = make_format<F32>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

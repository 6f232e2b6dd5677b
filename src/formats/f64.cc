#include "formats/f64.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

constinit const Format kF64Format = make_format<F64>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

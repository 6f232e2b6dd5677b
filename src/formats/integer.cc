#include "formats/integer.h"

namespace steelyard::formats::inline STEELYARD_TARGET {

constinit const Format kI8Format = make_format<I8>();
constinit const Format kI16Format = make_format<I16>();
constinit const Format kI32Format = make_format<I32>();
constinit const Format kI64Format = make_format<I64>();

}  // namespace steelyard::formats::inline STEELYARD_TARGET

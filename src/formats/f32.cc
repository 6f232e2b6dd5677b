#include "formats/f32.h"

namespace steelyard {

constinit const Format kF32Format = make_format<F32>();

}  // namespace steelyard

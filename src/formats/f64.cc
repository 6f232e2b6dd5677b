#include "formats/f64.h"

namespace steelyard {

constinit const Format kF64Format = make_format<F64>();

}  // namespace steelyard

#include "formats/q4_0.h"

namespace steelyard {

constinit const Format kQ4_0Format = make_format<Q4_0>();

}  // namespace steelyard

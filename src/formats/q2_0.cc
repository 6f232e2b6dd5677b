#include "formats/q2_0.h"

namespace steelyard {

constinit const Format kQ2_0Format = make_format<Q2_0>();

}  // namespace steelyard

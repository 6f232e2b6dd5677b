#include "formats/q1_0.h"

namespace steelyard {

constinit const Format kQ1_0Format = make_format<Q1_0>();

}  // namespace steelyard

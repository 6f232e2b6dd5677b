#include "formats/q4_1.h"

namespace steelyard {

constinit const Format kQ4_1Format = make_format<Q4_1>();

}  // namespace steelyard

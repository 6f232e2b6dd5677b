#include "formats/q5_1.h"

namespace steelyard {

constinit const Format kQ5_1Format = make_format<Q5_1>();

}  // namespace steelyard

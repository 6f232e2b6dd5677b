#include "formats/tq2_0.h"

namespace steelyard {

constinit const Format kTQ2_0Format = make_format<TQ2_0>();

}  // namespace steelyard

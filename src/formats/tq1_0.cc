#include "formats/tq1_0.h"

namespace steelyard {

constinit const Format kTQ1_0Format = make_format<TQ1_0>();

}  // namespace steelyard

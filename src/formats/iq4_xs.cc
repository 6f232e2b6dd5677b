#include "formats/iq4_xs.h"

namespace steelyard {

constinit const Format kIQ4_XSFormat = make_format<IQ4_XS>();

}  // namespace steelyard

#include "formats/iq2_xs.h"

namespace steelyard {

constinit const Format kIQ2_XSFormat = make_format<IQ2_XS>();

}  // namespace steelyard

#include "formats/iq1_s.h"

namespace steelyard {

constinit const Format kIQ1_SFormat = make_format<IQ1_S>();

}  // namespace steelyard

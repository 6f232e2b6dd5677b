#include "formats/iq1_m.h"

namespace steelyard {

constinit const Format kIQ1_MFormat = make_format<IQ1_M>();

}  // namespace steelyard

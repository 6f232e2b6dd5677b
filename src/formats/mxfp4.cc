#include "formats/mxfp4.h"

namespace steelyard {

constinit const Format kMXFP4Format = make_format<MXFP4>();

}  // namespace steelyard

#include "formats/nvfp4.h"

namespace steelyard {

constinit const Format kNVFP4Format = make_format<NVFP4>();

}  // namespace steelyard

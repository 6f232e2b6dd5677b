// See native.h.
#include "formats/native.h"

namespace steelyard::formats {

bool is_native(Type type) { return type == Type::MXFP4 || type == Type::NVFP4; }

}  // namespace steelyard::formats

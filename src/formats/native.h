// Types in which models are trained and published. Weights that come in one of them are exact: another type of the same
// size or more only adds an error, or bytes. Used by plans (plan/resolve.h).
#pragma once

#include "formats/format.h"

namespace steelyard::formats {

/// Whether the published weights of models are in this type.
inline bool is_native(Type type) { return type == Type::MXFP4 || type == Type::NVFP4; }

}  // namespace steelyard::formats

// Types in which models are trained and published. Weights that come in one of them are exact: another type of the same
// size or more only adds an error, or bytes. Used by plans (plan/resolve.h).
#pragma once

#include "formats/format.h"

namespace steelyard::formats {

/// Whether the published weights of models are in this type.
bool is_native(Type type);

}  // namespace steelyard::formats

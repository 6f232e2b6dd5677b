// Cholesky factors of large matrices, with all threads.
#pragma once

#include "quantize/matrix.h"

namespace steelyard {

/// Overwrites the symmetric a [n, n], of which only the lower triangle is read, with L of a = L L^T; above the diagonal
/// is left what was there. False where a is not positive definite. The same for any number of threads; parallel inside.
bool cholesky(Doubles& a);

}  // namespace steelyard

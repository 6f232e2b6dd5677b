// Cholesky factors of large matrices, with all threads.
#pragma once

#include "quantize/matrix.h"

namespace steelyard::quantize {

/// Factors the symmetric a [n, n] in place: writes L of a = L L^T. Only the lower triangle is read, and the part above
/// the diagonal is left unchanged. Returns false if a is not positive definite. The result is the same for any number
/// of threads. Parallel inside.
bool cholesky(DoubleMatrix& a);

}  // namespace steelyard::quantize

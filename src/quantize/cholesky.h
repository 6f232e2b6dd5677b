// Cholesky factors of large matrices, with all threads.
#pragma once

#include <functional>

#include "quantize/matrix.h"

namespace steelyard::quantize {

/// Factors the symmetric a [n, n] in place: writes L of a = L L^T. Only the lower triangle is read, and the part above
/// the diagonal is left unchanged. Returns false if a is not positive definite. The result is the same for any number
/// of threads. Parallel inside.
bool cholesky(DoubleMatrix& a);

/// The same with n_columns columns that are factored together, and a way to factor their square: false if it is not
/// positive definite. Both are part of the order of sums. One thread factors the square, and all threads what is below
/// and right of it.
using SquareFactor = std::function<bool(Eigen::Ref<DoubleMatrix> square)>;
bool cholesky(DoubleMatrix& a, const SquareFactor& factor_square, Eigen::Index n_columns);

}  // namespace steelyard::quantize

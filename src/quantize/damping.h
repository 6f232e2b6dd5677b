// Damping: what is added to a Hessian before it is inverted or factored.
#pragma once

#include <Eigen/Core>

namespace steelyard::quantize {

/// Adds a part of its own diagonal to the square matrix h. Also adds a millionth of the mean to the whole diagonal, for
/// columns that no input had.
template <typename Matrix>
void damp(Matrix& h, double part) {
  const double floor = 1e-6 * h.diagonal().mean();
  h.diagonal() = h.diagonal() * (1.0 + part) + Eigen::VectorXd::Constant(h.rows(), floor);
}

}  // namespace steelyard::quantize

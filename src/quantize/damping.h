// What is added to second moments before they are inverted or factored.
#pragma once

#include <Eigen/Core>

namespace steelyard {

/// Adds a part of its own diagonal to the square matrix h, and to all of it a millionth of the mean, for columns that
/// no input had.
template <typename Matrix>
void damp(Matrix& h, double part) {
  const double floor = 1e-6 * h.diagonal().mean();
  h.diagonal() = h.diagonal() * (1.0 + part) + Eigen::VectorXd::Constant(h.rows(), floor);
}

}  // namespace steelyard

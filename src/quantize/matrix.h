// Eigen matrices as the quantizer uses them: row-major, with sums in an order that no processor changes.
#pragma once

#include <Eigen/Core>

namespace steelyard::quantize {

using FloatMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using FloatMatrixView = Eigen::Map<const FloatMatrix>;
using DoubleMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Products and their sums are cut into cache blocks of fixed sizes, not of the machine's sizes. So results are the
/// same everywhere.
inline const bool kCachesAreSet = (Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 8 << 20), true);

}  // namespace steelyard::quantize

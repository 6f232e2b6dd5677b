// Matrices of Eigen as the quantizer uses them: row after row, and with sums that no processor orders otherwise.
#pragma once

#include <Eigen/Core>

namespace steelyard {

using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowsView = Eigen::Map<const Rows>;
using Doubles = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Products are cut into blocks that fit the caches, and sums with them: of these sizes, not of the machine's, so that
/// results are the same everywhere.
inline const bool kCachesAreSet = (Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 8 << 20), true);

}  // namespace steelyard

// How much memory backward passes work in.
#pragma once

#include <cstdint>

namespace steelyard::compute::cuda {

/// F32 values of a workspace, 64 MiB: decoded weights, or probabilities of attention. The order of sums depends on it.
/// Tests lower it.
inline int64_t values_at_once = int64_t{16} << 20;

}  // namespace steelyard::compute::cuda

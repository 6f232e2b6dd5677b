// Runs a matrix through the kernels of error feedback, panel by panel. Called by encoders.cc.
#pragma once

#include <cstddef>
#include <cstdint>

#include "compute/cuda/encoders.h"
#include "compute/cuda/runtime.h"

namespace steelyard::compute::cuda {

/// Memory that is used for one matrix after the other.
class LdlqRounder {
 public:
  explicit LdlqRounder(Device& device) : device_(device) {}

  /// As DeviceEncoder::encode_ldlq. books: the books for the kernel.
  void encode(const formats::Format& to, const EncodeKernel& kernel, const void* const (&books)[kBooks],
              const formats::LdlqInputs& inputs, const float* x, int64_t n_rows, std::byte* out);

 private:
  const float* uploaded(Workspace& workspace, const float* values, int64_t n);

  Device& device_;
  Workspace factor_{device_}, hessian_{device_}, weights_{device_}, inverse_{device_};
  Workspace rows_{device_}, errors_{device_}, products_{device_}, scales_{device_}, codes_{device_},
      shrinkage_{device_}, out_{device_};
};

}  // namespace steelyard::compute::cuda

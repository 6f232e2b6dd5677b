// The reference backend: every operation as its formula, one value at a time, summed in double. It is the specification
// against which other backends are tested, and is never used where speed matters.
#pragma once

#include "compute/host_backend.h"

namespace steelyard::compute {

class RefBackend : public HostBackend {
 public:
  std::string_view name() const override { return "ref"; }

#define OPERATION(name, ...) void name(__VA_ARGS__) override;
#define HOST_OPERATION(...)
#include "compute/operations.def"

 protected:
  void multiply(std::span<const Product> products) override;
  void multiply_transposed(std::span<const Product> products) override;
  void add_scale_gradients(std::span<const ScaleGradient> gradients) override;
};

}  // namespace steelyard::compute

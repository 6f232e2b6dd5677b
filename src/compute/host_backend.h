// What backends that compute in host memory share: memory is memory, weights stay where the file map has them.
#pragma once

#include <vector>

#include "compute/backend.h"

namespace steelyard {

class HostBackend : public Backend {
 public:
  Buffer allocate(size_t bytes) override;
  void upload(void* device, const void* host, size_t bytes) override;
  void download(void* host, const void* device, size_t bytes) override;
  void zero(void* device, size_t bytes) override;
  Weight load(Weight host) override { return host; }

#define OPERATION(...)
#define HOST_OPERATION(name, ...) void name(__VA_ARGS__) override;
#include "compute/operations.def"

 protected:
  /// Of one slice each: mul_mats makes a product for each expert of what is routed.
  virtual void multiply(std::span<const Product> products) = 0;

 private:
  std::vector<Product> products_;  // of the call at work
};

}  // namespace steelyard

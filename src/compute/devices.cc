#include "compute/devices.h"

#include <charconv>

#include "base/error.h"
#include "compute/cuda/cuda.h"

namespace steelyard {

std::optional<int> cuda_device(std::string_view backend) {
  if (backend == "cuda") return 0;
  if (!backend.starts_with("cuda:")) return std::nullopt;
  backend.remove_prefix(5);
  int device = 0;
  const auto [end, error] = std::from_chars(backend.data(), backend.data() + backend.size(), device);
  const bool whole = error == std::errc() && end == backend.data() + backend.size();
  return whole && device >= 0 ? std::optional(device) : std::nullopt;
}

std::string device_address([[maybe_unused]] std::string_view backend) {
#ifdef STEELYARD_WITH_CUDA
  if (const auto device = cuda_device(backend)) return cuda_device_address(*device);
#endif
  return "";
}

std::unique_ptr<DeviceEncoder> make_device_encoder(std::string_view backend) {
  if (backend == "cpu") return nullptr;
  if (const auto device = cuda_device(backend)) {
#ifdef STEELYARD_WITH_CUDA
    return make_cuda_encoder(*device);
#else
    fail_without_cuda(backend);
#endif
  }
  fail("", "no encoders on \"{}\" (known: cpu, cuda, cuda:N)", printable(backend));
}

void fail_without_cuda(std::string_view backend) {
  fail("", "backend {}: this program was built without CUDA (STEELYARD_CUDA=ON builds it with)", backend);
}

}  // namespace steelyard

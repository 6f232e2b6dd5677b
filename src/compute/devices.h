// Backends by name: their devices, and the encoders on these.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "formats/device_encoder.h"

namespace steelyard {

/// N of "cuda:N", 0 of "cuda"; nothing for other names.
std::optional<int> cuda_device(std::string_view backend);

/// The PCI address of a backend's device, by the backend's name; empty if it has none.
std::string device_address(std::string_view backend);

/// The encoder on the device of "cuda" or "cuda:N"; null for "cpu", which has only every type's own Encoder. Error for
/// another name, and where there is no such device.
std::unique_ptr<DeviceEncoder> make_device_encoder(std::string_view backend);

/// Error for a device's backend that is not part of this program.
[[noreturn]] void fail_without_cuda(std::string_view backend);

}  // namespace steelyard

// Backends by name: their devices, and what encodes on these.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "formats/device_encoder.h"

namespace steelyard {

/// N of "cuda:N", 0 of "cuda"; nothing where the name is another's.
std::optional<int> cuda_device(std::string_view backend);

/// The PCI address of a backend's device, by its name; empty where it has none.
std::string device_address(std::string_view backend);

/// The encoder on the device of "cuda" or "cuda:N"; null for "cpu", where every type's own Encoder is all there is.
/// Error for another name, and where there is no such device.
std::unique_ptr<DeviceEncoder> make_device_encoder(std::string_view backend);

/// Error for a device's backend that this program was built without.
[[noreturn]] void fail_without_cuda(std::string_view backend);

}  // namespace steelyard

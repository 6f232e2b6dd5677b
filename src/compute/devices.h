// Backends by name, and where their devices are.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace steelyard {

/// N of "cuda:N", 0 of "cuda"; nothing where the name is another's.
std::optional<int> cuda_device(std::string_view backend);

/// The PCI address of a backend's device, by its name; empty where it has none.
std::string device_address(std::string_view backend);

}  // namespace steelyard

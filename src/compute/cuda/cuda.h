// What the rest of the program knows of CUDA: what its row of compute/backends.def needs. Without STEELYARD_CUDA these
// functions do not exist.
#pragma once

#include <memory>
#include <string>

#include "compute/backend.h"
#include "formats/device_encoder.h"

namespace steelyard::compute {

/// Devices that can be used; 0 without a driver.
int cuda_device_count();

/// Its address on the PCI bus, "00000000:01:00.0", by which the driver's tools know it; empty when there is no such
/// device.
std::string cuda_device_address(int device);

/// A backend on one device. Error when there is no such device.
std::unique_ptr<Backend> make_cuda_backend(int device, Precision precision);
/// Encoders on one device. Error when there is no such device.
std::unique_ptr<formats::DeviceEncoder> make_cuda_encoder(int device);

}  // namespace steelyard::compute

// What the rest of the program knows of CUDA: how to get a backend. Without STEELYARD_CUDA these functions do not
// exist.
#pragma once

#include <memory>

#include "compute/backend.h"

namespace steelyard {

/// Devices that can be used; 0 without a driver.
int cuda_device_count();

/// A backend on one device. Error when there is no such device.
std::unique_ptr<Backend> make_cuda_backend(int device, Precision precision);

}  // namespace steelyard

// Several devices as one encoder: rows are dealt out to them, and every device writes its rows at the same time. A
// row's bytes do not depend on the device. For callers that have many rows and need not know where they are encoded.
#pragma once

#include <memory>
#include <vector>

#include "formats/device_encoder.h"

namespace steelyard::compute {

/// devices: at least one; they outlive it, and encode the same types.
std::unique_ptr<formats::DeviceEncoder> make_shared_encoder(std::vector<formats::DeviceEncoder*> devices);

}  // namespace steelyard::compute

#include "jobs/quantize_devices.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "compute/shared_encoder.h"

namespace steelyard::jobs {

QuantizeDevices::QuantizeDevices(const std::vector<std::string>& backends) {
  if (backends.empty()) fail("", "--backend: expected at least one");
  const compute::BackendKind* kind = nullptr;
  std::vector<int> numbers;
  for (const std::string& name : backends) {
    auto encoder = compute::make_device_encoder(name);
    if (encoder == nullptr) continue;  // the processor
    const compute::BackendName found = *compute::parse_backend_name(name);
    if (kind != nullptr && kind != found.kind)
      fail("", "--backend {}: all devices must be of one kind", fmt::join(backends, ","));
    kind = found.kind;
    if (std::ranges::find(numbers, found.device) != numbers.end()) fail("", "--backend: {} is named twice", name);
    numbers.push_back(found.device);
    names_.push_back(name);
    encoders_.push_back(std::move(encoder));
  }
  if (encoders_.size() < 2) return;
  std::vector<formats::DeviceEncoder*> all;
  for (const auto& encoder : encoders_) all.push_back(encoder.get());
  all_ = compute::make_shared_encoder(std::move(all));
}

std::string QuantizeDevices::first_of(const std::vector<std::string>& backends) {
  const auto device = std::ranges::find_if(backends, [](const std::string& name) { return name != "cpu"; });
  return device != backends.end() ? *device : backends.empty() ? "" : backends.front();
}

formats::DeviceEncoder* QuantizeDevices::encoder() const {
  if (encoders_.empty()) return nullptr;
  return all_ != nullptr ? all_.get() : encoders_.front().get();
}

void QuantizeDevices::make_backends(uint64_t needed) {
  constexpr double kGib = uint64_t{1} << 30;
  for (const std::string& name : names_) {
    forward_.push_back(compute::make_backend(name));
    moments_.push_back(compute::make_backend(name));
    const auto free = forward_.back()->free_memory();
    if (free && *free < needed) {
      fail(name, "calibration needs {:.2f} GiB of the device's memory, and {:.2f} GiB are free",
           static_cast<double>(needed) / kGib, static_cast<double>(*free) / kGib);
    }
  }
  if (names_.empty()) forward_.push_back(compute::make_backend(processor_));
}

calibrate::CalibrationDevices QuantizeDevices::of_calibration() const {
  calibrate::CalibrationDevices devices;
  if (names_.empty()) return devices;
  for (const auto& encoder : encoders_) devices.encoders.push_back(encoder.get());
  for (const auto& backend : forward_) devices.forward.push_back(backend.get());
  for (const auto& backend : moments_) devices.moments.push_back(backend.get());
  return devices;
}

}  // namespace steelyard::jobs

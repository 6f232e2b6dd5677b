// The devices that quantize uses. Rows that are encoded by themselves are dealt out to all of them. A calibration has
// them one by one: each rounds matrices, has batches of the text pass, and makes sums over inputs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/calibrated_layers.h"
#include "compute/backends.h"

namespace steelyard::jobs {

class QuantizeDevices {
 public:
  /// Backends by name. The processor takes part beside devices whether it is named or not. Error for one that does not
  /// encode or is not there, for one that is named twice, and for devices of several kinds: their text would pass
  /// differently.
  explicit QuantizeDevices(const std::vector<std::string>& backends);

  /// Names of the devices; none: everything is done by the processor.
  const std::vector<std::string>& names() const { return names_; }
  int count() const { return static_cast<int>(names_.size()); }
  /// Where a model's trunk is: the first device, or the processor.
  const std::string& first() const { return names_.empty() ? processor_ : names_.front(); }
  /// The same of names that were not looked at yet; the first name where no device is among them.
  static std::string first_of(const std::vector<std::string>& backends);
  /// All of them as one; null where there are none.
  formats::DeviceEncoder* encoder() const;
  /// Makes the backends of a calibration. Error naming a device that has less memory free than `needed`.
  void make_backends(uint64_t needed);
  compute::Backend& backend() const { return *forward_.front(); }
  calibrate::CalibrationDevices of_calibration() const;

 private:
  const std::string processor_ = "cpu";
  std::vector<std::string> names_;
  std::vector<std::unique_ptr<formats::DeviceEncoder>> encoders_;
  std::unique_ptr<formats::DeviceEncoder> all_;  // where there are several
  std::vector<std::unique_ptr<compute::Backend>> forward_, moments_;
};

}  // namespace steelyard::jobs

// Meters of energy: RAPL counts what processors and their memory take, NVML what GPUs take. Both count up in hardware,
// so what a stretch of work took is the difference of two readings. Where there is no meter, there is a reason instead
// of a figure.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace steelyard::measure {

class EnergyMeter {
 public:
  virtual ~EnergyMeter() = default;
  virtual std::string name() const = 0;
  /// Joules since the meter was made. Counters wrap around: to be asked once a minute at least while it counts.
  virtual double joules() = 0;
};

/// What can be measured here, and why other things cannot.
struct EnergyMeters {
  std::vector<std::unique_ptr<EnergyMeter>> meters;
  std::vector<std::string> absent;  ///< a line each

  double joules();
};

inline constexpr const char* kPowercap = "/sys/class/powercap";
inline constexpr const char* kNvml = "libnvidia-ml.so.1";

/// Adds a meter for each package and each memory beside it that the folder of the kernel's powercap interface has (its
/// documentation: Documentation/power/powercap). Zones within a package and of the whole platform would count twice.
void add_rapl(EnergyMeters& meters, const std::string& folder = kPowercap);

/// Adds a meter for each of these devices, named by PCI address as "00000000:01:00.0", through NVIDIA's management
/// library, which is loaded for it.
void add_nvml(EnergyMeters& meters, std::span<const std::string> addresses, const std::string& library = kNvml);

}  // namespace steelyard::measure

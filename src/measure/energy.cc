#include "measure/energy.h"

#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>

#include "base/error.h"

namespace steelyard::measure {
namespace {

namespace fs = std::filesystem;

// The first line of a file; nothing when it cannot be read.
std::optional<std::string> line_of(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  return std::getline(in, line) ? std::optional(line) : std::nullopt;
}

std::optional<uint64_t> number_in(const std::string& path) {
  const std::optional<std::string> line = line_of(path);
  uint64_t number = 0;
  if (!line) return std::nullopt;
  const auto [end, error] = std::from_chars(line->data(), line->data() + line->size(), number);
  return error == std::errc() && end == line->data() + line->size() ? std::optional(number) : std::nullopt;
}

class RaplZone : public EnergyMeter {
 public:
  RaplZone(std::string name, std::string folder, uint64_t now, uint64_t range)
      : name_(std::move(name)), folder_(std::move(folder)), last_(now), range_(range) {}

  std::string name() const override { return name_; }

  double joules() override {
    const uint64_t now = number_in(folder_ + "/energy_uj").value_or(last_);
    microjoules_ += now >= last_ ? now - last_ : now + (range_ > last_ ? range_ - last_ : 0);
    last_ = now;
    return static_cast<double>(microjoules_) * 1e-6;
  }

 private:
  std::string name_, folder_;
  uint64_t last_, range_, microjoules_ = 0;
};

// The part of NVIDIA's management library that is used, by the names and types of its public interface. 0 is success.
struct Nvml {
  explicit Nvml(const std::string& path) : handle(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle == nullptr) return;
    find(init, "nvmlInit_v2");
    find(shutdown, "nvmlShutdown");
    find(by_address, "nvmlDeviceGetHandleByPciBusId_v2");
    find(millijoules, "nvmlDeviceGetTotalEnergyConsumption");
    complete = init != nullptr && shutdown != nullptr && by_address != nullptr && millijoules != nullptr;
    started = complete && init() == 0;
  }
  Nvml(const Nvml&) = delete;
  ~Nvml() {
    if (started) shutdown();
    if (handle != nullptr) ::dlclose(handle);
  }

  template <class Function>
  void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(handle, name));
  }

  void* handle;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*by_address)(const char*, void**) = nullptr;
  int (*millijoules)(void*, unsigned long long*) = nullptr;
  bool complete = false, started = false;
};

class NvmlDevice : public EnergyMeter {
 public:
  NvmlDevice(std::shared_ptr<const Nvml> nvml, void* device, std::string address, unsigned long long now)
      : nvml_(std::move(nvml)), device_(device), address_(std::move(address)), first_(now), last_(now) {}

  std::string name() const override { return "GPU " + address_; }

  double joules() override {
    unsigned long long now = 0;
    if (nvml_->millijoules(device_, &now) == 0) last_ = std::max(last_, now);
    return static_cast<double>(last_ - first_) * 1e-3;
  }

 private:
  std::shared_ptr<const Nvml> nvml_;
  void* device_;
  std::string address_;
  unsigned long long first_, last_;
};

}  // namespace

double EnergyMeters::joules() {
  double sum = 0;
  for (const auto& meter : meters) sum += meter->joules();
  return sum;
}

void add_rapl(EnergyMeters& meters, const std::string& folder) {
  std::vector<std::string> zones;
  std::error_code ignored;  // what is not there has no zones
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().starts_with("intel-rapl:")) zones.push_back(entry.path().string());
  }
  std::ranges::sort(zones);
  bool any = false;
  for (const std::string& zone : zones) {
    const std::string name = printable(line_of(zone + "/name").value_or(""));
    if (!name.starts_with("package") && name != "dram") continue;
    any = true;
    const std::string number = fs::path(zone).filename().string().substr(std::string("intel-rapl:").size());
    const std::string known = name == "dram" ? "dram " + printable(number) : name;
    const auto now = number_in(zone + "/energy_uj"), range = number_in(zone + "/max_energy_range_uj");
    if (now && range)
      meters.meters.push_back(std::make_unique<RaplZone>(known, zone, *now, *range));
    else
      meters.absent.push_back(fmt::format("{}: {}/energy_uj cannot be read, which often only root may", known, zone));
  }
  if (!any) meters.absent.push_back(fmt::format("processor: {} has no zones of RAPL", folder));
}

void add_nvml(EnergyMeters& meters, std::span<const std::string> addresses, const std::string& library) {
  const auto nvml = std::make_shared<const Nvml>(library);
  for (const std::string& address : addresses) {
    const std::string name = "GPU " + address;
    void* device = nullptr;
    unsigned long long now = 0;
    if (nvml->handle == nullptr)
      meters.absent.push_back(fmt::format("{}: {} cannot be loaded", name, library));
    else if (!nvml->complete)
      meters.absent.push_back(fmt::format("{}: {} lacks functions that are needed", name, library));
    else if (!nvml->started)
      meters.absent.push_back(fmt::format("{}: {} cannot be started", name, library));
    else if (nvml->by_address(address.c_str(), &device) != 0)
      meters.absent.push_back(fmt::format("{}: {} does not know it", name, library));
    else if (nvml->millijoules(device, &now) != 0)
      meters.absent.push_back(fmt::format("{}: it does not count its energy", name));
    else
      meters.meters.push_back(std::make_unique<NvmlDevice>(nvml, device, address, now));
  }
}

}  // namespace steelyard::measure

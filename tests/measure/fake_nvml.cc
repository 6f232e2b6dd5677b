// A library with the functions of NVIDIA's management library that meters of energy use. It knows two devices; one has
// taken 1.5 J more whenever it is asked, the other does not count.
namespace {

int counting = 0, silent = 0;  // their addresses are the handles
unsigned long long millijoules = 9'000'000'000'000'000ULL;

}  // namespace

extern "C" {

int nvmlInit_v2();
int nvmlShutdown();
int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device);
int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* energy);

int nvmlInit_v2() { return 0; }
int nvmlShutdown() { return 0; }

int nvmlDeviceGetHandleByPciBusId_v2(const char* address, void** device) {
  if (address[0] == '0') *device = &counting;
  if (address[0] == '1') *device = &silent;
  return address[0] == '0' || address[0] == '1' ? 0 : 6;  // NVML_ERROR_NOT_FOUND
}

int nvmlDeviceGetTotalEnergyConsumption(void* device, unsigned long long* energy) {
  if (device != &counting) return 3;  // NVML_ERROR_NOT_SUPPORTED
  *energy = millijoules += 1500;
  return 0;
}
}

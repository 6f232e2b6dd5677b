// The calls of cuda_runtime.h. Every pointer that crosses them is checked: whose it is, and whether the bytes fit.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "cuda_emulator/memory.h"
#include "cuda_emulator/streams.h"
#include "cuda_runtime.h"

using namespace steelyard::cuda_emulator;

namespace steelyard::cuda_emulator {
namespace {

std::map<const void*, int> dynamic_limits;  // of kernels, where they were raised

// Bytes of dynamic shared memory that a block may opt in to (CUDA C++ Programming Guide, compute capabilities).
int shared_limit() {
  const int capability = config().compute_capability;
  if (capability == 75) return 64 << 10;
  if (capability == 80) return 163 << 10;
  if (capability == 86 || capability == 89 || capability >= 120) return 99 << 10;
  return 227 << 10;
}

// Empty, or why [p, p + n) is not memory of a device.
std::string check_range(const void* p, size_t n, const char* what) {
  const memory::Info info = memory::find(p);
  if (info.kind != memory::Kind::kDevice) return std::string(what) + " is not device memory: " + memory::describe(p);
  if (info.freed) return std::string(what) + ": use after cudaFree: " + memory::describe(p);
  if (static_cast<const char*>(p) + n > info.base + info.size) {
    return std::string(what) + ": " + std::to_string(n) + " bytes do not fit: " + memory::describe(p);
  }
  return {};
}

bool on_device(const void* p) { return memory::find(p).kind == memory::Kind::kDevice; }

std::string check_side(const void* p, size_t n, bool device, const char* what) {
  if (device) return check_range(p, n, what);
  return on_device(p) ? std::string(what) + " should be host memory: " + memory::describe(p) : std::string();
}

bool to_device(cudaMemcpyKind kind, const void* d) {
  return kind == cudaMemcpyDefault ? on_device(d) : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
}
bool from_device(cudaMemcpyKind kind, const void* s) {
  return kind == cudaMemcpyDefault ? on_device(s) : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
}

// Host memory that is not pinned is copied before the call returns (source) or makes it wait (destination).
cudaError_t copy(void* d, const void* s, size_t n, cudaMemcpyKind kind, CUstream_st* stream, bool wait) {
  if (n == 0) return cudaSuccess;
  if (sticky_error) return report(sticky_error);
  std::string error = check_side(d, n, to_device(kind, d), "cudaMemcpy destination");
  if (error.empty()) error = check_side(s, n, from_device(kind, s), "cudaMemcpy source");
  if (!error.empty()) return report(cudaErrorInvalidValue, std::move(error));
  if (memory::find(s).kind == memory::Kind::kNone) {
    const auto* bytes = static_cast<const char*>(s);
    const auto held = std::make_shared<std::vector<char>>(bytes, bytes + n);
    enqueue(stream, [=] { memcpy(memory::alias(d), held->data(), n); });
  } else {
    enqueue(stream, [=] { memmove(memory::alias(d), memory::alias(s), n); });
  }
  if (!wait && memory::find(d).kind != memory::Kind::kNone) return cudaSuccess;
  drain(stream);
  return sticky_error ? report(sticky_error) : cudaSuccess;
}

bool mapped(const void* p) {
  unsigned char resident;
  const auto page = uintptr_t(p) & ~uintptr_t(4095);
  return uintptr_t(p) > 65536 && mincore(reinterpret_cast<void*>(page), 1, &resident) == 0;
}

// Empty, or why a kernel of `device` must not be given this value. Only some values of untyped bytes are pointers.
std::string check_pointer(const void* value, int device, bool is_pointer) {
  if (!value) return {};
  const memory::Info info = memory::find(value);
  if (info.kind == memory::Kind::kPinned) return {};
  if (info.kind == memory::Kind::kDevice) {
    if (info.freed) return "points to freed memory: " + memory::describe(value);
    if (memory::peer_enabled(device, info.device)) return {};
    return "belongs to another device without peer access: " + memory::describe(value);
  }
  if (!is_pointer && !mapped(value)) return {};
  const memory::Info before = memory::find(static_cast<const char*>(value) - 1);  // one past the end is legal
  const bool end = before.kind == memory::Kind::kDevice && !before.freed && memory::peer_enabled(device, before.device);
  return end ? std::string() : "is not device memory: " + memory::describe(value);
}

std::string check_argument(const Argument& argument, int device) {
  for (size_t offset = 0; offset + 8 <= argument.size; offset += 8) {
    const void* value;
    memcpy(&value, static_cast<const char*>(argument.value) + offset, 8);
    const std::string error = check_pointer(value, device, argument.is_pointer);
    if (error.empty()) continue;
    return (argument.is_pointer ? " " : " (a struct, byte offset " + std::to_string(offset) + ") ") + error;
  }
  return {};
}

std::string check_shape(const Launch& launch) {
  const unsigned n_threads = launch.block.x * launch.block.y * launch.block.z;
  if (!n_threads || n_threads > 1024) return "invalid block size";
  if (!launch.grid.x || !launch.grid.y || !launch.grid.z || launch.grid.y > 65535 || launch.grid.z > 65535) {
    return "invalid grid size";
  }
  const auto raised = dynamic_limits.find(launch.func);
  const int limit = std::max(48 << 10, raised == dynamic_limits.end() ? 0 : raised->second);
  if (launch.dyn_smem <= size_t(limit)) return {};
  return std::to_string(launch.dyn_smem) + " bytes of dynamic shared memory exceed " + std::to_string(limit) +
         " (cudaFuncSetAttribute missing?)";
}

}  // namespace

size_t live_allocations(int device) {
  Lock lock(runtime_mutex);
  return memory::live(device);
}

void reset(int devices, size_t bytes_each) {
  Lock lock(runtime_mutex);
  forget_streams();
  dynamic_limits.clear();
  memory::set_device_count(devices, bytes_each);
}

void run_launch(const Launch& launch) {
  memory::enter_kernel(launch.device);
  std::string error = run_grid(launch);
  memory::leave_kernel();
  if (error.empty() && config().memcheck) {
    error = memory::check_canaries(launch.device);
    if (!error.empty()) error = std::string(launch.name) + ": " + error;
  }
  if (error.empty()) return;
  const bool address = error.find("illegal memory") != std::string::npos;
  set_sticky(address ? cudaErrorIllegalAddress : cudaErrorLaunchFailure, std::move(error));
}

cudaError_t enqueue_kernel(Launch launch, std::function<void(const Launch&)> run, const Argument* arguments, int n,
                           cudaStream_t named) {
  Lock lock(runtime_mutex);
  CUstream_st* stream = resolve(named);
  if (sticky_error) return report(sticky_error);
  launch.device = stream->device;
  const std::string name = launch.name;
  if (named && stream->device != chosen_device) {
    return report(cudaErrorInvalidValue, name + ": stream belongs to device " + std::to_string(stream->device) +
                                             ", current device is " + std::to_string(chosen_device));
  }
  if (const std::string error = check_shape(launch); !error.empty()) {
    return report(cudaErrorInvalidConfiguration, name + ": " + error);
  }
  for (int i = 0; i < n; ++i) {
    const std::string error = check_argument(arguments[i], launch.device);
    if (!error.empty()) return report(cudaErrorIllegalAddress, name + ": argument " + std::to_string(i) + error);
  }
  enqueue(stream, [launch, run] { run(launch); });
  return cudaSuccess;
}

}  // namespace steelyard::cuda_emulator

// ---- devices

cudaError_t cudaGetDeviceCount(int* n) {
  Lock lock(runtime_mutex);
  *n = memory::device_count();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  Lock lock(runtime_mutex);
  if (!memory::valid_device(device)) return report(cudaErrorInvalidDevice);
  chosen_device = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = chosen_device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  Lock lock(runtime_mutex);
  if (!memory::valid_device(device)) return report(cudaErrorInvalidDevice);
  const int capability = config().compute_capability;
  *properties = {};
  snprintf(properties->name, sizeof properties->name, "emulated device %d (sm_%d)", device, capability);
  properties->totalGlobalMem = memory::bytes_total(device);
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = size_t(shared_limit());
  properties->major = capability / 10;
  properties->minor = capability % 10;
  properties->multiProcessorCount = 4;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->pciBusID = device + 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  if (attribute == cudaDevAttrMultiProcessorCount) *value = properties.multiProcessorCount;
  if (attribute == cudaDevAttrComputeCapabilityMajor) *value = properties.major;
  if (attribute == cudaDevAttrComputeCapabilityMinor) *value = properties.minor;
  if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin) *value = int(properties.sharedMemPerBlockOptin);
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  Lock lock(runtime_mutex);
  drain_device(chosen_device);
  return sticky_error ? report(sticky_error) : cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can, int device, int peer) {
  if (!memory::valid_device(device) || !memory::valid_device(peer)) return report(cudaErrorInvalidDevice);
  *can = device != peer;
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned) {
  Lock lock(runtime_mutex);
  if (!memory::valid_device(peer) || peer == chosen_device) return report(cudaErrorInvalidDevice);
  if (memory::peer_enabled(chosen_device, peer)) return report(cudaErrorPeerAccessAlreadyEnabled);
  memory::enable_peer(chosen_device, peer, true);
  return cudaSuccess;
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  Lock lock(runtime_mutex);
  if (!memory::peer_enabled(chosen_device, peer)) return report(cudaErrorPeerAccessNotEnabled);
  memory::enable_peer(chosen_device, peer, false);
  return cudaSuccess;
}

// ---- memory

cudaError_t cudaMalloc(void** p, size_t n) {
  Lock lock(runtime_mutex);
  if (sticky_error) return sticky_error;
  if (!memory::valid_device(chosen_device)) return report(cudaErrorInvalidDevice);
  *p = n > 0 ? memory::alloc(chosen_device, n) : nullptr;
  return *p || n == 0 ? cudaSuccess : report(cudaErrorMemoryAllocation, "out of device memory");
}

cudaError_t cudaFree(void* p) {
  Lock lock(runtime_mutex);
  if (!p) return cudaSuccess;
  drain_device(-1);
  return memory::free_device(p) ? cudaSuccess : report(cudaErrorInvalidValue, "cudaFree of " + memory::describe(p));
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  Lock lock(runtime_mutex);
  if (!memory::valid_device(chosen_device)) return report(cudaErrorInvalidDevice);
  *free = memory::bytes_free(chosen_device);
  *total = memory::bytes_total(chosen_device);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t n) {
  Lock lock(runtime_mutex);
  *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096);
  memset(*p, config().poison, n);
  memory::register_host(*p, n, memory::Kind::kPinned, chosen_device);
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* p) {
  Lock lock(runtime_mutex);
  drain_device(-1);
  if (!memory::unregister_host(p)) return report(cudaErrorInvalidValue, "cudaFreeHost of " + memory::describe(p));
  free(p);
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* d, const void* s, size_t n, cudaMemcpyKind kind) {
  Lock lock(runtime_mutex);
  return copy(d, s, n, kind, resolve(nullptr), true);
}

cudaError_t cudaMemcpyAsync(void* d, const void* s, size_t n, cudaMemcpyKind kind, cudaStream_t stream) {
  Lock lock(runtime_mutex);
  return copy(d, s, n, kind, resolve(stream), false);
}

cudaError_t cudaMemcpy2DAsync(void* d, size_t d_pitch, const void* s, size_t s_pitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
  Lock lock(runtime_mutex);
  if (width > d_pitch || width > s_pitch) return report(cudaErrorInvalidValue, "cudaMemcpy2D: rows overlap");
  for (size_t row = 0; row < height; ++row) {
    const cudaError_t error = copy(static_cast<char*>(d) + row * d_pitch, static_cast<const char*>(s) + row * s_pitch,
                                   width, kind, resolve(stream), false);
    if (error) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpyPeerAsync(void* d, int d_device, const void* s, int s_device, size_t n, cudaStream_t stream) {
  Lock lock(runtime_mutex);
  for (const auto& [p, device] : {std::pair<const void*, int>{d, d_device}, {s, s_device}}) {
    if (memory::find(p).device == device) continue;
    return report(cudaErrorInvalidValue,
                  "cudaMemcpyPeer: pointer does not belong to the stated device: " + memory::describe(p));
  }
  return copy(d, s, n, cudaMemcpyDeviceToDevice, resolve(stream), false);
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t n, cudaStream_t stream) {
  Lock lock(runtime_mutex);
  if (n == 0) return cudaSuccess;
  if (sticky_error) return report(sticky_error);
  if (std::string error = check_range(p, n, "cudaMemset"); !error.empty()) {
    return report(cudaErrorInvalidValue, std::move(error));
  }
  enqueue(resolve(stream), [=] { memset(memory::alias(p), value, n); });
  return cudaSuccess;
}

cudaError_t cudaMemset(void* p, int value, size_t n) { return cudaMemsetAsync(p, value, n, nullptr); }

// ---- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  Lock lock(runtime_mutex);
  *stream = make_stream(flags & cudaStreamNonBlocking);
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Lock lock(runtime_mutex);
  return destroy_stream(stream) ? cudaSuccess : report(cudaErrorInvalidValue, "cudaStreamDestroy: not a live stream");
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Lock lock(runtime_mutex);
  drain(resolve(stream));
  return sticky_error ? report(sticky_error) : cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Lock lock(runtime_mutex);
  if (event->stream) resolve(stream)->waits.push_back({event->stream, event->number});
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t named) {
  Lock lock(runtime_mutex);
  CUstream_st* stream = resolve(named);
  if (is_default(stream)) enqueue(stream, [] {});  // which waits for the blocking streams, too
  *event = {stream, stream->enqueued};
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Lock lock(runtime_mutex);
  if (event->stream) run_until(event->stream, event->number);
  return sticky_error ? report(sticky_error) : cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Lock lock(runtime_mutex);
  if (!event->stream || event->stream->done >= event->number) return cudaSuccess;
  run_until(event->stream, event->stream->done + 1);  // the device goes on meanwhile
  return event->stream->done >= event->number ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cuda_emulator_set_attribute(const void* function, cudaFuncAttribute, int value) {
  Lock lock(runtime_mutex);
  if (value > shared_limit()) {
    return report(cudaErrorInvalidValue, "cudaFuncSetAttribute: above the opt-in limit of this device");
  }
  dynamic_limits[function] = value;
  return cudaSuccess;
}

#include "compute/cuda/runtime.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/error.h"
#include "compute/cuda/cuda.h"

namespace steelyard::compute {

int cuda_device_count() {
  int n = 0;
  return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

std::string cuda_device_address(int device) {
  cudaDeviceProp properties;
  if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) return "";
  return fmt::format("{:08x}:{:02x}:{:02x}.0", properties.pciDomainID, properties.pciBusID, properties.pciDeviceID);
}

namespace cuda {

void check(cudaError_t error, const std::string& device, const char* what) {
  if (error != cudaSuccess) fail(device, "{} failed: {}", what, cudaGetErrorString(error));
}

PinnedUpload::~PinnedUpload() {
  for (const Staging& staging : staging_) {
    if (staging.memory == nullptr) continue;
    cudaEventDestroy(staging.free);
    cudaFreeHost(staging.memory);
  }
}

void PinnedUpload::copy(void* to, const void* host, size_t bytes, cudaStream_t stream, const std::string& device) {
  for (size_t at = 0; at < bytes; at += kStagingBytes) {
    const size_t n = std::min(kStagingBytes, bytes - at);
    Staging& staging = staging_[next_];
    next_ = (next_ + 1) % kStagings;
    if (staging.memory == nullptr) {
      check(cudaMallocHost(&staging.memory, kStagingBytes), device, "pinning host memory");
      check(cudaEventCreateWithFlags(&staging.free, cudaEventDisableTiming), device, "making an event");
    } else {
      check(cudaEventSynchronize(staging.free), device, "uploading");
    }
    std::memcpy(staging.memory, static_cast<const std::byte*>(host) + at, n);
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + at, staging.memory, n, cudaMemcpyHostToDevice, stream), device,
          "uploading");
    check(cudaEventRecord(staging.free, stream), device, "uploading");
  }
}

Device::Device(int index) : index_(index), name_(fmt::format("cuda:{}", index)) {
  const int n = cuda_device_count();
  if (index < 0 || index >= n) fail(name_, "there is no such device (found: {})", n);
  use();
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "asking for its properties");
  n_processors_ = properties.multiProcessorCount;
  capability_ = 10 * properties.major + properties.minor;
  if (capability_ < 75)
    fail(name_, "compute capability {}.{}, at least 7.5 is needed", properties.major, properties.minor);
  for (cudaStream_t* stream : {&stream_, &copy_stream_}) {
    check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "making a stream");
  }
}

Device::~Device() {
  cudaSetDevice(index_);
  for (cudaStream_t stream : {stream_, copy_stream_}) {
    cudaStreamSynchronize(stream);
    cudaStreamDestroy(stream);
  }
}

uint64_t Device::free_memory() const {
  use();
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for its memory");
  return free;
}

Buffer Device::allocate(size_t bytes) const {
  use();
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, std::max<size_t>(bytes, 1));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // it does not stick
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for its memory");
    fail(name_, "out of memory: {} MiB more are needed, {} of {} MiB are free", bytes >> 20, free >> 20, total >> 20);
  }
  check(error, "allocating memory");
  return Buffer(static_cast<std::byte*>(memory), [index = index_](std::byte* p) {
    cudaSetDevice(index);
    cudaFree(p);  // waits for kernels that use it
  });
}

void Device::upload(void* to, const void* host, size_t bytes) {
  use();
  uploads_.copy(to, host, bytes, stream_, name_);
}

Buffer Device::allocate_copy(const void* host, size_t bytes) {
  const std::lock_guard lock(copying_);
  Buffer memory = allocate(bytes);
  copies_.copy(memory.get(), host, bytes, copy_stream_, name_);
  check(cudaStreamSynchronize(copy_stream_), "uploading");
  return memory;
}

void Device::download(void* host, const void* from, size_t bytes) const {
  use();
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_), "downloading");
  synchronize();
}

}  // namespace cuda
}  // namespace steelyard::compute

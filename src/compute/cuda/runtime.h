// One device as the backend's host code sees it: memory, a stream that operations run on in order, and a second one
// that weights come in by, so that a thread can bring the next layer's while another computes.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <mutex>
#include <string>

#include "compute/backend.h"

namespace steelyard::cuda {

/// Error naming device and operation when a call failed; a failed kernel shows at the next call that waits.
void check(cudaError_t error, const std::string& device, const char* what);

/// Copies host memory to a device through two pinned buffers: while one is on its way, the other is filled.
class PinnedUpload {
 public:
  PinnedUpload() = default;
  PinnedUpload(const PinnedUpload&) = delete;
  ~PinnedUpload();

  /// In order with the stream's work; returns when `host` may change. `device` is named by errors.
  void copy(void* to, const void* host, size_t bytes, cudaStream_t stream, const std::string& device);

 private:
  static constexpr size_t kStagingBytes = size_t{8} << 20;
  static constexpr int kStagings = 2;
  struct Staging {
    std::byte* memory = nullptr;
    cudaEvent_t free = nullptr;  // when the copy out of it is done
  };

  Staging staging_[kStagings];
  int next_ = 0;
};

class Device {
 public:
  /// Error when there is no such device.
  explicit Device(int index);
  Device(const Device&) = delete;
  ~Device();

  const std::string& name() const { return name_; }
  cudaStream_t stream() const { return stream_; }
  int n_processors() const { return n_processors_; }
  /// Of compute, times 10: 80 has tensor cores for bfloat16 and int8.
  int capability() const { return capability_; }

  /// Makes this device the calling thread's. Every operation begins with it.
  void use() const { check(cudaSetDevice(index_), "choosing it"); }
  void check(cudaError_t error, const char* what) const { cuda::check(error, name_, what); }

  uint64_t free_memory() const;
  /// Error with the numbers when it does not fit. The handle may outlive neither driver nor program, but the Device.
  Buffer allocate(size_t bytes) const;
  /// New memory with a copy of host memory, complete when it returns. Other threads may use the device meanwhile.
  Buffer place(const void* host, size_t bytes);
  /// In order with operations; returns when `host` may change.
  void upload(void* to, const void* host, size_t bytes);
  /// Waits for everything before.
  void download(void* host, const void* from, size_t bytes) const;
  void synchronize() const { check(cudaStreamSynchronize(stream_), "computing"); }

 private:
  const int index_;
  std::string name_;
  cudaStream_t stream_ = nullptr, placing_stream_ = nullptr;
  int n_processors_ = 0, capability_ = 0;
  PinnedUpload uploads_, placements_;
  std::mutex placing_;
};

/// Memory that grows and is used again, call after call.
class Workspace {
 public:
  explicit Workspace(const Device& device) : device_(device) {}

  /// At least n values, uninitialised; valid until the next call.
  template <class T>
  T* array(size_t n) {
    if (n * sizeof(T) > bytes_) {
      memory_.reset();  // first, so that both need not fit
      memory_ = device_.allocate(n * sizeof(T));
      bytes_ = n * sizeof(T);
    }
    return reinterpret_cast<T*>(memory_.get());
  }

 private:
  const Device& device_;
  Buffer memory_;
  size_t bytes_ = 0;
};

}  // namespace steelyard::cuda

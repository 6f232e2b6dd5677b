// Memory of an emulated device, as tests use it; and every schedule that a kernel should stand.
#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "cuda_emulator/launch.h"

namespace steelyard::cuda_emulator {

/// Fails the test with the emulator's message.
inline void expect_success(cudaError_t error) { EXPECT_EQ(error, cudaSuccess) << last_message(); }

/// n values of the chosen device; poisoned until written.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : size_(n) { expect_success(cudaMalloc(&data_, n * sizeof(T))); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    expect_success(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return data_; }
  /// Waits for the device.
  std::vector<T> values() const {
    std::vector<T> host(size_);
    expect_success(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

/// Calls test() forwards, backwards, and under some seeds of both kinds with three blocks side by side.
template <class F>
void under_all_schedules(F&& test, std::initializer_list<uint64_t> seeds = {1, 2, 3, 4}) {
  const Config before = config();
  const auto run = [&](Order order, uint64_t seed, int resident) {
    SCOPED_TRACE("order " + std::to_string(int(order)) + ", seed " + std::to_string(seed));
    config().order = order;
    config().seed = seed;
    config().resident_blocks = resident;
    test();
  };
  run(Order::kForward, 1, 1);
  run(Order::kReverse, 1, 1);
  for (const uint64_t seed : seeds) run(Order::kRandom, seed, 3);
  config() = before;
}

}  // namespace steelyard::cuda_emulator

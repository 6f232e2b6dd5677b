// Test data in the memory of an emulated device, and a backend there beside the reference.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compute/activations.h"
#include "compute/cuda/cuda.h"
#include "compute/cuda/encoders.h"
#include "cuda_emulator/device_array.h"

namespace steelyard::compute {

/// A copy of host activations on the device, gaps and all.
class DeviceMatrix {
 public:
  DeviceMatrix(Backend& backend, Activations& host) : backend_(backend), host_(host.matrix()) {
    memory_ = backend.allocate(bytes());
    backend.upload(memory_.get(), begin(), bytes());
  }
  Matrix matrix() const {
    Matrix device = host_;
    device.data = reinterpret_cast<float*>(memory_.get()) + host_.stride / 2;
    return device;
  }
  /// Copies back what the device made of it.
  void download() { backend_.download(begin(), memory_.get(), bytes()); }

 private:
  float* begin() const { return host_.data - host_.stride / 2; }
  size_t bytes() const { return static_cast<size_t>((host_.rows + 1) * host_.stride) * sizeof(float); }

  Backend& backend_;
  Matrix host_;
  Buffer memory_;
};

/// Host values on the device.
template <class T>
class DeviceValues {
 public:
  DeviceValues(Backend& backend, const std::vector<T>& host) : backend_(backend), size_(host.size()) {
    memory_ = backend.allocate(size_ * sizeof(T));
    backend.upload(memory_.get(), host.data(), size_ * sizeof(T));
  }
  T* data() const { return reinterpret_cast<T*>(memory_.get()); }
  std::vector<T> values() const {
    std::vector<T> host(size_);
    backend_.download(host.data(), memory_.get(), size_ * sizeof(T));
    return host;
  }

 private:
  Backend& backend_;
  size_t size_;
  Buffer memory_;
};

inline DeviceValues<float> row_values(Backend& backend, Activations& host) {
  const Matrix m = host.matrix();
  return {backend, std::vector<float>(m.data, m.data + m.cols)};
}

/// A host routing on the device.
class DeviceRouting {
 public:
  DeviceRouting(Backend& backend, const Routing& host)
      : host_(host),
        expert_(backend, {host.expert, host.expert + host.n_slots()}),
        row_(backend, {host.row, host.row + host.n_slots()}),
        token_(backend, {host.token, host.token + host.n_slots()}),
        row_begin_(backend, {host.row_begin, host.row_begin + host.n_expert + 1}),
        weight_(backend, {host.weight, host.weight + host.n_slots()}) {}
  Routing get() const {
    Routing routing = host_;
    routing.expert = expert_.data();
    routing.row = row_.data();
    routing.token = token_.data();
    routing.row_begin = row_begin_.data();
    routing.weight = weight_.data();
    return routing;
  }
  const DeviceValues<int32_t>& expert() const { return expert_; }
  const DeviceValues<int32_t>& row() const { return row_; }
  const DeviceValues<int32_t>& token() const { return token_; }
  const DeviceValues<int32_t>& row_begin() const { return row_begin_; }
  const DeviceValues<float>& weight() const { return weight_; }

 private:
  Routing host_;
  DeviceValues<int32_t> expert_, row_, token_, row_begin_;
  DeviceValues<float> weight_;
};

/// Appends the rows of a matrix.
inline void append(std::vector<float>& values, Matrix m) {
  for (int64_t r = 0; r < m.rows; ++r) values.insert(values.end(), m.row(r), m.row(r) + m.cols);
}

/// The types that a device encodes.
inline std::vector<const formats::Format*> device_formats() {
  std::vector<const formats::Format*> formats;
  for (const formats::Format* each : formats::all_formats()) {
    if (cuda::encode_kernel(each->type) != nullptr) formats.push_back(each);
  }
  return formats;
}

/// Tests begin with fresh devices and plain settings.
class CudaTest : public testing::Test {
 protected:
  void SetUp() override { start(1); }
  void TearDown() override { cuda_emulator::config() = {}; }

  static void start(int devices, size_t bytes_each = size_t{256} << 20) {
    cuda_emulator::config() = {};
    cuda_emulator::reset(devices, bytes_each);
  }
  static std::unique_ptr<Backend> cuda(Precision precision = Precision::kExact, int device = 0) {
    return make_cuda_backend(device, precision);
  }

  /// work(backend, operands) on the device and by the reference: all operands are as the reference leaves them.
  using Work = std::function<void(Backend&, const std::vector<Matrix>&)>;
  void expect_same(Backend& backend, std::vector<Activations> operands, float tolerance, const Work& work,
                   float least_scale = 1e-30f) {
    std::vector<Activations> expected = operands;
    std::vector<Matrix> views, expected_views;
    std::vector<DeviceMatrix> on_device;
    for (Activations& each : operands) views.push_back(on_device.emplace_back(backend, each).matrix());
    for (Activations& each : expected) expected_views.push_back(each.matrix());
    work(backend, views);
    work(*ref_, expected_views);
    for (size_t i = 0; i < operands.size(); ++i) {
      SCOPED_TRACE("operand " + std::to_string(i));
      on_device[i].download();
      expect_close(operands[i].matrix(), expected_views[i], tolerance, least_scale);
      EXPECT_TRUE(operands[i].untouched_outside());
    }
  }

  const std::unique_ptr<Backend> ref_ = make_backend("ref");
};

}  // namespace steelyard::compute

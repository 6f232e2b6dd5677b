// The emulated instructions against plain products, built by the host's compiler and, where nvcc is there, as the PTX
// that it emitted.
#include "cuda_emulator/kernels/probes.h"

#include <functional>
#include <random>

#include "cuda_emulator/device_array.h"
#include "cuda_emulator/ptx/module.h"
#include "support.h"

namespace steelyard::cuda_emulator {
namespace {

// The same kernels by two ways.
struct Build {
  std::function<cudaError_t(int*, const int8_t*, const int8_t*, const int*)> s8;
  std::function<cudaError_t(float*, const __half*, const __half*)> half;
  std::function<cudaError_t(float*, const __nv_bfloat16*, const __nv_bfloat16*)> bf16;
  std::function<cudaError_t(uint32_t*, const uint16_t*)> ldmatrix;
  std::function<cudaError_t(float*, const float*, int)> copies;
};

Build host_build() {
  using namespace cuda_probes;
  return {probe_s8, probe_half, probe_bf16, probe_ldmatrix, probe_copies};
}

const ptx::Module& module() {
  static const ptx::Module module(test::read_text(STEELYARD_PTX_PROBES));
  return module;
}

Build ptx_build() {
  const auto kernel = [](const char* name) {
    return [name](auto... args) { return module()(name, dim3(1), dim3(32), 0, nullptr, args...); };
  };
  return {kernel("probe_s8_kernel"), kernel("probe_floats_kernelILb0"), kernel("probe_floats_kernelILb1"),
          kernel("probe_ldmatrix_kernel"), kernel("probe_copies_kernel")};
}

class Probes : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && std::string(STEELYARD_PTX_PROBES).empty()) GTEST_SKIP() << "built without nvcc: no PTX";
    reset(1);
    build_ = GetParam() ? ptx_build() : host_build();
  }
  Build build_;
  std::mt19937 random_{7};
};

TEST_P(Probes, Int8Products) {
  std::vector<int8_t> a(256), b(128);
  std::vector<int> c(128);
  for (auto& v : a) v = int8_t(random_());
  for (auto& v : b) v = int8_t(random_());
  for (auto& v : c) v = int(random_());
  const DeviceArray<int8_t> da(a), db(b);
  const DeviceArray<int> dc(c), dd(128);
  expect_success(build_.s8(dd.data(), da.data(), db.data(), dc.data()));
  const std::vector<int> d = dd.values();
  for (int row = 0; row < 16; ++row) {
    for (int col = 0; col < 8; ++col) {
      auto sum = uint32_t(c[size_t(row * 8 + col)]);
      for (int k = 0; k < 16; ++k) sum += uint32_t(a[size_t(row * 16 + k)] * b[size_t(col * 16 + k)]);
      EXPECT_EQ(d[size_t(row * 8 + col)], int(sum)) << row << ", " << col;
    }
  }
}

template <class T, class F>
void check_products(std::mt19937& random, const F& multiply) {
  std::vector<T> a(256), b(128);
  for (auto* values : {&a, &b}) {
    for (auto& v : *values) v = T(float(int(random() % 33) - 16) / 8);
  }
  const DeviceArray<T> da(a), db(b);
  const DeviceArray<float> dd(128);
  expect_success(multiply(dd.data(), da.data(), db.data()));
  const std::vector<float> d = dd.values();
  for (int row = 0; row < 16; ++row) {
    for (int col = 0; col < 8; ++col) {
      float sum = 0;  // exact: few bits
      for (int k = 0; k < 16; ++k) sum += float(a[size_t(row * 16 + k)]) * float(b[size_t(col * 16 + k)]);
      EXPECT_EQ(d[size_t(row * 8 + col)], sum) << row << ", " << col;
    }
  }
}

TEST_P(Probes, HalfProducts) { check_products<__half>(random_, build_.half); }
TEST_P(Probes, Bf16Products) { check_products<__nv_bfloat16>(random_, build_.bf16); }

TEST_P(Probes, MatricesFromSharedMemory) {
  std::vector<uint16_t> in(256);
  for (size_t i = 0; i < in.size(); ++i) in[i] = uint16_t(i);
  const DeviceArray<uint16_t> din(in);
  const DeviceArray<uint32_t> dout(128);
  expect_success(build_.ldmatrix(dout.data(), din.data()));
  const std::vector<uint32_t> out = dout.values();
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t j = 0; j < 4; ++j) {
      const uint32_t first = j * 64 + lane / 4 * 8 + lane % 4 * 2;
      EXPECT_EQ(out[lane * 4 + j], first | (first + 1) << 16);
    }
  }
}

TEST_P(Probes, AsynchronousCopies) {
  std::vector<float> in(128);
  for (size_t i = 0; i < in.size(); ++i) in[i] = float(i);
  for (const int n : {4, 100, 128}) {
    const DeviceArray<float> din(in), dout(128);
    expect_success(build_.copies(dout.data(), din.data(), n));
    const std::vector<float> out = dout.values();
    for (int i = 0; i < n; ++i) EXPECT_EQ(out[size_t(i)], float(n - 1 - i));
  }
}

INSTANTIATE_TEST_SUITE_P(Builds, Probes, testing::Bool(), [](const auto& each) { return each.param ? "ptx" : "host"; });

// What nvcc makes of intrinsics, warp operations and atomics gives the bits that their emulation gives.
TEST(Ptx, IntrinsicsGiveTheSameBits) {
  if (std::string(STEELYARD_PTX_PROBES).empty()) GTEST_SKIP() << "built without nvcc: no PTX";
  constexpr int kIn = 1024, kBlocks = 8;
  constexpr size_t kOut = size_t(kBlocks) * 64 * cuda_probes::kIntrinsics;
  std::mt19937 random(5);
  std::vector<uint32_t> in(kIn);
  for (auto& v : in) v = random();
  reset(1);
  const DeviceArray<uint32_t> din(in), host(std::vector<uint32_t>(kOut, 0)), device(std::vector<uint32_t>(kOut, 0));
  expect_success(cuda_probes::intrinsics(host.data(), din.data(), kIn, kBlocks));
  expect_success(module()("intrinsics_kernel", dim3(kBlocks), dim3(64), 256, nullptr, device.data(), din.data(), kIn));
  const std::vector<uint32_t> expected = host.values(), found = device.values();
  for (size_t i = 0; i < kOut; ++i) {
    ASSERT_EQ(found[i], expected[i]) << "value " << i % cuda_probes::kIntrinsics << " of thread "
                                     << i / cuda_probes::kIntrinsics;
  }
}

TEST(Ptx, RefusesWhatItDoesNotKnow) {
  const std::string head = ".version 9.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %r<3>;\n";
  EXPECT_THROW(ptx::Module(head + "frobnicate.b32 %r1, %r2;\nret;\n}\n"), std::runtime_error);
  EXPECT_THROW(ptx::Module(head + "bra $nowhere;\nret;\n}\n"), std::runtime_error);
  EXPECT_THROW(ptx::Module(head + "mma.sync.aligned.m8n8k4.row.col.f64.f64 {%r1}, {%r1}, {%r1}, {%r1};\n}\n"),
               std::runtime_error);
  EXPECT_NO_THROW(ptx::Module(head + "mov.b32 %r1, 3;\nret;\n}\n"));
}

}  // namespace
}  // namespace steelyard::cuda_emulator

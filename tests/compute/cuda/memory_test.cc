// Memory of devices: uploads longer than the pinned buffers, separate devices, refusal with the numbers, errors of
// kernels, and what the sources may not contain.
#include <filesystem>
#include <regex>

#include "base/error.h"
#include "compute/cuda/on_device.h"
#include "error_of.h"
#include "support.h"

namespace steelyard::compute {
namespace {

class CudaMemory : public CudaTest {};

TEST_F(CudaMemory, UploadsOfAnyLength) {
  cuda_emulator::under_all_schedules([&] {
    const auto backend = cuda();
    std::vector<int32_t> host(5'000'000);  // 20 MB
    for (size_t i = 0; i < host.size(); ++i) host[i] = static_cast<int32_t>(i);
    const DeviceValues<int32_t> device(*backend, host);
    EXPECT_EQ(device.values(), host);
  });
}

TEST_F(CudaMemory, NothingIsLeftBehind) {
  {
    const auto backend = cuda(Precision::kFast);
    RandomWeight weight(formats::Type::Q4_K, 256, 8, 1, 1);
    Activations x(9, 256, 2), y(9, 8, 3);
    DeviceMatrix device_x(*backend, x), out(*backend, y);
    const Weight loaded = backend->load(weight.get());
    backend->mul_mat(loaded, 0, device_x.matrix(), out.matrix());
    out.download();
    EXPECT_GT(cuda_emulator::live_allocations(0), 0u);
  }
  EXPECT_EQ(cuda_emulator::live_allocations(0), 0u);
}

TEST_F(CudaMemory, RefusesWithTheNumbers) {
  start(1, size_t{64} << 20);
  const auto backend = cuda();
  const Buffer half = backend->allocate(size_t{40} << 20);
  EXPECT_EQ(test::error_of([&] { backend->allocate(size_t{30} << 20); }),
            "cuda:0: out of memory: 30 MiB more are needed, 24 of 64 MiB are free");
  EXPECT_NE(backend->allocate(size_t{10} << 20), nullptr);  // and goes on
}

TEST_F(CudaMemory, DevicesAreApart) {
  start(3);
  EXPECT_EQ(cuda_device_count(), 3);
  std::vector<std::unique_ptr<Backend>> backends;
  for (int d = 0; d < 3; ++d) backends.push_back(cuda(Precision::kExact, d));
  EXPECT_EQ(backends[2]->name(), "cuda:2");
  for (const auto& backend : backends) {  // by turns, on one thread
    Activations x(2, 40, 1), y(2, 40, 2), expected(2, 40, 1);
    DeviceMatrix device_x(*backend, x), device_y(*backend, y);
    backend->add(device_x.matrix(), device_y.matrix());
    device_x.download();
    ref_->add(expected.matrix(), y.matrix());
    EXPECT_TRUE(identical(x.matrix(), expected.matrix()));
  }
  // What one device has, another's kernels cannot read.
  Activations x(2, 40, 1), y(2, 40, 2);
  DeviceMatrix on_0(*backends[0], x), on_1(*backends[1], y);
  EXPECT_THROW(backends[0]->add(on_0.matrix(), on_1.matrix()), Error);
  EXPECT_NE(test::error_of([] { cuda(Precision::kExact, 3); }).find("cuda:3: there is no such device (found: 3)"),
            std::string::npos);
}

// A kernel that fails is an Error where its result is asked for.
TEST_F(CudaMemory, KernelsThatFail) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer finds the fault itself and ends the program";
#endif
  const auto backend = cuda();
  Activations x(2, 40, 1);
  DeviceMatrix device_x(*backend, x);
  Matrix beyond = device_x.matrix();
  beyond.rows = 1000;
  const std::string error = test::error_of([&] {
    backend->scale(beyond, 2.0f);
    device_x.download();
  });
  EXPECT_NE(error.find("cuda:0: "), std::string::npos);
  EXPECT_NE(error.find("illegal memory access"), std::string::npos) << error;
}

// Only device.h may spell what one of the two compilers does not understand, or the emulator cannot check.
TEST(CudaSources, UseTheHeader) {
  const std::regex forbidden(
      R"(<<<|__shared__|__CUDA_ARCH__|\basm\b|__activemask|nvcuda::|cooperative_groups|__constant__|cudaMemcpyToSymbol)");
  EXPECT_TRUE(std::regex_search("kernel<<<1, 2>>>();", forbidden));
  int n = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(STEELYARD_SOURCE_DIR) + "/src/compute/cuda")) {
    const std::string path = entry.path().string();
    if (entry.path().filename() == "device.h") continue;
    EXPECT_FALSE(std::regex_search(test::read_text(path), forbidden)) << path;
    ++n;
  }
  EXPECT_GT(n, 10);
}

}  // namespace
}  // namespace steelyard::compute

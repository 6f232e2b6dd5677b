// With STEELYARD_CUDA_PTX, a list of PTX files, the kernels that they hold run as that PTX in all tests of this
// program.
#include <cstdlib>
#include <deque>
#include <sstream>

#include "compute/cuda/on_device.h"
#include "cuda_emulator/ptx/module.h"
#include "support.h"

namespace steelyard::test {
namespace {

class PtxEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    const char* files = std::getenv("STEELYARD_CUDA_PTX");
    if (files == nullptr) return;
    std::istringstream list(files);
    for (std::string file; std::getline(list, file, ':');) {
      EXPECT_GT(modules_.emplace_back(read_text(file)).run_from_here(), 0) << file;
    }
  }
  void TearDown() override {
    cuda_emulator::forget_ptx();
    modules_.clear();
  }

 private:
  std::deque<cuda_emulator::ptx::Module> modules_;
};

const testing::Environment* const kEnvironment = testing::AddGlobalTestEnvironment(new PtxEnvironment);

class CudaPtx : public CudaTest {};

// The tests above would pass without PTX, too: here is what shows that it ran.
TEST_F(CudaPtx, IsWhatRuns) {
  if (std::getenv("STEELYARD_CUDA_PTX") == nullptr)
    GTEST_SKIP() << "no STEELYARD_CUDA_PTX: kernels of the host's compiler";
  const auto backend = cuda();
  RandomWeight weight(Type::Q4_K, 256, 9, 1, 1);
  Activations x(20, 256, 2), y(20, 9, 3);
  DeviceMatrix device_x(*backend, x), out(*backend, y);
  const auto count = [&](const std::function<void()>& work) {
    const uint64_t before = cuda_emulator::ptx::Module::instructions();
    work();
    out.download();
    return cuda_emulator::ptx::Module::instructions() - before;
  };
  const Weight loaded = backend->load(weight.get());
  EXPECT_GT(count([&] { backend->mul_mat(loaded, 0, device_x.matrix(), out.matrix()); }), 1000u);
  EXPECT_GT(count([&] { backend->scale(out.matrix(), 2.0f); }), 100u);
}

}  // namespace
}  // namespace steelyard::test

// The kernels as the PTX that nvcc made of them. With STEELYARD_CUDA_PTX in the environment, kernels of all tests of
// this program run as PTX where there is some; with STEELYARD_CUDA_PTX=all, each has to.
#include <cstdlib>
#include <deque>
#include <sstream>

#include "compute/cuda/on_device.h"
#include "cuda_emulator/ptx/module.h"
#include "support.h"

namespace steelyard::compute {
namespace {

using Modules = std::deque<cuda_emulator::ptx::Module>;

// Kernels run as PTX for as long as what this returns lives.
Modules run_as_ptx() {
  Modules modules;
  std::istringstream list(STEELYARD_PTX_KERNELS);
  for (std::string file; std::getline(list, file, ':');) {
    EXPECT_GT(modules.emplace_back(test::read_text(file)).run_from_here(), 0) << file;
  }
  return modules;
}

// Products and encoders are compiled to PTX for a few types only.
bool is_of_a_type(const std::string& kernel) {
  return kernel.starts_with("steelyard::compute::cuda::multiply_") ||
         kernel.starts_with("steelyard::compute::cuda::decode_rows<") ||
         kernel.starts_with("steelyard::compute::cuda::write_block_scales<") ||
         kernel.starts_with("steelyard::compute::cuda::encode_on_device<");
}

class PtxEnvironment : public testing::Environment {
 public:
  void SetUp() override {
    const char* which = std::getenv("STEELYARD_CUDA_PTX");
    if (which == nullptr) return;
    all_ = std::string(which) == "all";
    modules_ = run_as_ptx();
  }
  void TearDown() override {
    if (all_) {
      for (const std::string& kernel : cuda_emulator::launched_without_ptx()) {
        EXPECT_TRUE(is_of_a_type(kernel)) << kernel << " did not run as PTX";
      }
      for (const std::string& kernel : cuda_emulator::ptx_not_launched()) ADD_FAILURE() << kernel << " did not run";
    }
    cuda_emulator::forget_ptx();
    modules_.clear();
  }

 private:
  bool all_ = false;
  Modules modules_;
};

const testing::Environment* const kEnvironment = testing::AddGlobalTestEnvironment(new PtxEnvironment);

class CudaPtx : public CudaTest {};

// The tests above would pass without PTX, too: here is what shows that it ran.
TEST_F(CudaPtx, IsWhatRuns) {
  if (std::string(STEELYARD_PTX_KERNELS).empty()) GTEST_SKIP() << "built without nvcc: no PTX";
  const bool for_all = std::getenv("STEELYARD_CUDA_PTX") != nullptr;
  const Modules modules = for_all ? Modules() : run_as_ptx();
  const auto backend = cuda();
  RandomWeight weight(formats::Type::Q4_K, 256, 9, 1, 1);
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
  if (!for_all) cuda_emulator::forget_ptx();
}

}  // namespace
}  // namespace steelyard::compute

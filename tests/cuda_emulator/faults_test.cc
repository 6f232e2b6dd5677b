// Wrong kernels and wrong host code: each must be caught, with a useful message. Many have a correct version beside
// them.
#include <cmath>

#include "cuda_emulator/device_array.h"
#include "cuda_emulator/instructions.h"

namespace steelyard::cuda_emulator {
namespace {

using compute::cuda::commit_copies;
using compute::cuda::copy_async_16;
using compute::cuda::ldmatrix_x4;

__global__ void fill(float* p) { p[threadIdx.x] = float(threadIdx.x); }
__global__ void write_beyond(float* p, int n) { p[int(threadIdx.x) + n] = 1; }
__global__ void diverge(float* p) {
  if (threadIdx.x < 16) __syncthreads();
  if (threadIdx.x == 0) __syncthreads();
  p[threadIdx.x] = 1;
}
__global__ void wait_in_two_places(float* p) {
  if (threadIdx.x & 1) {
    __syncthreads();
  } else {
    p[0] = 1;
    __syncthreads();
  }
}
__global__ void return_early(float* p, int n) {
  if (int(threadIdx.x) >= n) return;
  __syncthreads();
  p[threadIdx.x] = 1;
}
__global__ void shuffle_half_a_warp(float* p) {
  float v = 1;
  if (threadIdx.x < 16) v = __shfl_down_sync(0xFFFFFFFF, v, 1);
  p[threadIdx.x] = v;
}
__global__ void shuffle_from_outside(float* p) {
  if (threadIdx.x < 16) p[threadIdx.x] = __shfl_sync(0x0000FFFF, 1.0f, 20);
}
__global__ void read_unwritten(float* p) {
  CUDA_SHARED(s, float[64]);
  if (threadIdx.x < 8) s[threadIdx.x] = 1;
  __syncthreads();
  p[threadIdx.x] = s[threadIdx.x];
}
__global__ void forget_barrier(int* p) {
  CUDA_SHARED(s, int[256]);
  const int t = int(threadIdx.x);
  s[t] = t;
  p[t] = s[255 - t];
}
__global__ void forget_warp_barrier(int* p) {
  CUDA_SHARED(s, int[32]);
  const int t = int(threadIdx.x);
  s[t] = t;
  p[t] = s[t ^ 1];
}
__global__ void forget_to_wait(float* p, const float* src) {
  CUDA_SHARED(s, float[128]);
  compute::cuda::copy_async_16(&s[threadIdx.x * 4], src + threadIdx.x * 4);
  compute::cuda::commit_copies();
  __syncthreads();
  p[threadIdx.x] = s[threadIdx.x];
}
__global__ void use_dynamic(float* p) {
  CUDA_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = 1;
  __syncthreads();
  p[threadIdx.x] = s[threadIdx.x];
}
__global__ void multiply_without_last_lane(float* p) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (threadIdx.x < 31) compute::cuda::mma_m16n8k16_bf16(d, a, b, d);
  p[threadIdx.x] = d[0];
}
__global__ void matrix_from_global(float* p) {
  uint32_t r[4];
  compute::cuda::ldmatrix_x4(r, p);
  p[threadIdx.x] = float(r[0]);
}
__global__ void follow(float** table) { table[0][threadIdx.x] = 2; }
__global__ void count_last_block(int* count, int* out, int n_blocks) {
  CUDA_SHARED(last, int[1]);
  if (threadIdx.x == 0) {
    __threadfence();
    last[0] = atomicAdd(count, 1) == n_blocks - 1;
  }
  __syncthreads();
  if (last[0] && threadIdx.x == 0) out[0] = *count;
}
__global__ void count_without_atomics(int* p) {
  const int v = __atomic_load_n(p, __ATOMIC_RELAXED);
  __threadfence();
  __atomic_store_n(p, v + 1, __ATOMIC_RELAXED);
}
struct Arguments {
  float* p;
  int64_t n;
};
__global__ void fill_struct(Arguments a) {
  if (int(threadIdx.x) < a.n) a.p[threadIdx.x] = 3;
}

const std::string kName = "kernel";

class Faults : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "AddressSanitizer finds these faults itself and ends the program";
#endif
    fresh();
  }
  void TearDown() override { fresh(); }

  static void fresh() {
    config() = Config{};
    reset(2);
  }

  // Launches one dimension of blocks and threads and waits.
  template <class... P, class... A>
  cudaError_t run(void (*kernel)(P...), int grid, int block, size_t shared, A... args) {
    const cudaError_t error =
        launch_named(kName, kernel, dim3(unsigned(grid)), dim3(unsigned(block)), shared, nullptr, args...);
    return error ? error : cudaDeviceSynchronize();
  }
  template <class T = float>
  T* memory(size_t n) {
    T* p = nullptr;
    expect_success(cudaMalloc(&p, n * sizeof(T)));
    expect_success(cudaMemset(p, 0, n * sizeof(T)));
    return p;
  }
  template <class T>
  std::vector<T> values(const T* p, size_t n) {
    std::vector<T> host(n);
    expect_success(cudaMemcpy(host.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
    return host;
  }
  static void expect_fault(cudaError_t error, const std::string& part = "") {
    EXPECT_NE(error, cudaSuccess);
    EXPECT_NE(last_message().find(part), std::string::npos) << last_message();
  }
};

TEST_F(Faults, WritesBeyondAnAllocation) {
  expect_success(run(fill, 1, 32, 0, memory(32)));
  EXPECT_EQ(run(write_beyond, 1, 32, 0, memory(64), 64), cudaErrorIllegalAddress);
  expect_fault(cudaGetLastError(), "bytes past the end");
  reset(1);
  expect_fault(run(write_beyond, 1, 32, 0, memory(33), 2), "write past the end");  // by one value
}

TEST_F(Faults, Barriers) {
  expect_fault(run(diverge, 1, 32, 0, memory(32)));
  reset(1);
  expect_fault(run(wait_in_two_places, 1, 32, 0, memory(32)), "different source lines");
  reset(1);
  expect_fault(run(return_early, 1, 64, 0, memory(64), 40));
  reset(1);
  config().exited_ok = true;
  expect_success(run(return_early, 1, 64, 0, memory(64), 40));
}

TEST_F(Faults, Warps) {
  expect_fault(run(shuffle_half_a_warp, 1, 32, 0, memory(32)));
  reset(1);
  expect_fault(run(shuffle_from_outside, 1, 32, 0, memory(32)), "reads lane 20");
  reset(1);
  expect_fault(run(shuffle_half_a_warp, 1, 16, 0, memory(32)), "do not exist");
  reset(1);
  expect_fault(run(multiply_without_last_lane, 1, 32, 0, memory(32)));
  reset(1);
  config().compute_capability = 75;
  expect_fault(run(multiply_without_last_lane, 1, 32, 0, memory(32)), "needs sm_80");
  reset(1);
  expect_fault(run(matrix_from_global, 1, 32, 0, memory(512)), "shared memory");
}

TEST_F(Faults, UnwrittenSharedMemoryIsNan) {
  float* p = memory(64);
  expect_success(run(read_unwritten, 1, 64, 0, p));
  EXPECT_EQ(values(p, 64)[3], 1);
  EXPECT_TRUE(std::isnan(values(p, 64)[20]));
}

TEST_F(Faults, MissingSynchronisationShows) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    config().order = Order::kRandom;
    config().seed = seed;
    int* p = memory<int>(256);
    expect_success(run(forget_barrier, 1, 256, 0, p));
    const std::vector<int> found = values(p, 256);
    int wrong = 0;
    for (int i = 0; i < 256; ++i) wrong += found[size_t(i)] != 255 - i;
    EXPECT_GT(wrong, 0) << "seed " << seed;
  }
  for (const Order order : {Order::kForward, Order::kReverse}) {
    config().order = order;
    int* p = memory<int>(32);
    expect_success(run(forget_warp_barrier, 1, 32, 0, p));
    const std::vector<int> found = values(p, 32);
    int wrong = 0;
    for (int i = 0; i < 32; ++i) wrong += found[size_t(i)] != (i ^ 1);
    EXPECT_GT(wrong, 0);
  }
  float* p = memory(32);
  expect_success(run(forget_to_wait, 1, 32, 0, p, memory(128)));
  EXPECT_TRUE(std::isnan(values(p, 32)[5]));
}

TEST_F(Faults, DynamicSharedMemory) {
  expect_fault(run(use_dynamic, 1, 32, 31 * 4, memory(32)), "past the end of dynamic");
  reset(1);
  expect_fault(run(use_dynamic, 1, 32, 0, memory(32)), "0 bytes");
  reset(1);
  expect_fault(run(use_dynamic, 1, 32, 60000, memory(32)), "cudaFuncSetAttribute");
  expect_success(cudaFuncSetAttribute(use_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 60000));
  expect_success(run(use_dynamic, 1, 32, 60000, memory(32)));
  config().compute_capability = 75;
  expect_fault(cudaFuncSetAttribute(use_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize, 70000), "opt-in limit");
  expect_fault(run(fill, 1, 1025, 0, memory(32)), "block size");
}

TEST_F(Faults, PointersOfOthers) {
  static float host[64];
  expect_fault(run(fill, 1, 32, 0, host), "not device memory");
  expect_fault(run(fill_struct, 1, 32, 0, Arguments{host, 4}), "struct");
  expect_success(run(fill_struct, 1, 32, 0, Arguments{memory(32), 4}));
  float* of_0 = memory(32);
  expect_success(cudaSetDevice(1));
  expect_fault(run(fill, 1, 32, 0, of_0), "another device");
  float** table = memory<float*>(1);
  expect_success(cudaMemcpy(table, &of_0, sizeof of_0, cudaMemcpyHostToDevice));
  EXPECT_EQ(run(follow, 1, 32, 0, table), cudaErrorIllegalAddress);
  reset(2);
  of_0 = memory(32);
  expect_success(cudaSetDevice(1));
  expect_success(cudaDeviceEnablePeerAccess(0, 0));
  expect_success(run(fill, 1, 32, 0, of_0));
}

TEST_F(Faults, FreedMemory) {
  float* p = memory(32);
  expect_success(cudaFree(p));
  expect_fault(run(fill, 1, 32, 0, p), "freed");
  float** table = memory<float*>(1);
  expect_success(cudaMemcpy(table, &p, sizeof p, cudaMemcpyHostToDevice));
  EXPECT_EQ(run(follow, 1, 32, 0, table), cudaErrorIllegalAddress);
  expect_fault(cudaGetLastError(), "FREED");
  reset(1, 1 << 20);
  float* too_much = nullptr;
  EXPECT_EQ(cudaMalloc(&too_much, 2 << 20), cudaErrorMemoryAllocation);
}

TEST_F(Faults, Copies) {
  float* p = memory(32);
  float host[64] = {};
  expect_fault(cudaMemcpy(p, host, sizeof host, cudaMemcpyHostToDevice), "do not fit");
  expect_fault(cudaMemcpy(host, p, 128, cudaMemcpyHostToDevice), "not device memory");
  cudaStream_t of_0;
  expect_success(cudaStreamCreate(&of_0));
  expect_success(cudaSetDevice(1));
  expect_fault(launch_named(kName, fill, dim3(1), dim3(32), 0, of_0, memory(32)), "stream belongs to device 0");
}

using FaultsDeathTest = Faults;
TEST_F(FaultsDeathTest, HostTouchesDeviceMemory) {
  const float* p = memory(32);
  EXPECT_DEATH({ static_cast<volatile const float*>(p)[0]; }, "HOST code touched device memory|SEGV");
}

TEST_F(Faults, PinnedMemoryIsReadLate) {
  float* host = nullptr;
  expect_success(cudaMallocHost(&host, 4096));
  float* p = memory(1024);
  cudaStream_t stream;
  expect_success(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  expect_success(cudaDeviceSynchronize());
  std::fill_n(host, 1024, 1.0f);
  expect_success(cudaMemcpyAsync(p, host, 4096, cudaMemcpyHostToDevice, stream));
  std::fill_n(host, 1024, 2.0f);  // too early
  expect_success(cudaStreamSynchronize(stream));
  EXPECT_EQ(values(p, 1)[0], 2.0f);
  expect_success(cudaFreeHost(host));
}

TEST_F(Faults, StreamsNeedEvents) {
  int wrong_without = 0, wrong_with = 0;
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    const bool with = seed % 2 == 0;
    config().order = Order::kRandom;
    config().seed = seed;
    reset(1);
    int *p = memory<int>(32), *q = memory<int>(32);
    cudaStream_t a, b;
    cudaEvent_t event;
    expect_success(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    expect_success(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
    expect_success(cudaEventCreate(&event));
    expect_success(cudaDeviceSynchronize());
    expect_success(cudaMemsetAsync(p, 1, 128, a));
    expect_success(cudaEventRecord(event, a));
    if (with) expect_success(cudaStreamWaitEvent(b, event));
    expect_success(cudaMemcpyAsync(q, p, 128, cudaMemcpyDeviceToDevice, b));
    expect_success(cudaDeviceSynchronize());
    (with ? wrong_with : wrong_without) += values(q, 1)[0] != 0x01010101;
    expect_success(cudaEventDestroy(event));
  }
  EXPECT_EQ(wrong_with, 0);
  EXPECT_GT(wrong_without, 0);
}

TEST_F(Faults, BlocksMeetInAtomics) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    config().order = Order::kRandom;
    config().resident_blocks = 4;
    config().seed = seed;
    int* out = memory<int>(1);
    expect_success(run(count_last_block, 13, 64, 0, memory<int>(1), out, 13));
    EXPECT_EQ(values(out, 1)[0], 13);
  }
  int* count = memory<int>(1);
  expect_success(run(count_without_atomics, 8, 64, 0, count));
  EXPECT_LT(values(count, 1)[0], 512);
}

}  // namespace
}  // namespace steelyard::cuda_emulator

#include "cuda_emulator/instructions.h"
#include "cuda_emulator/kernels/probes.h"

namespace steelyard::cuda_probes {

using namespace steelyard::compute::cuda;

__device__ __forceinline__ uint32_t word_at(const void* p) { return *static_cast<const uint32_t*>(p); }

// Fragments by the formulas of the PTX ISA: g is the row of a lane, q its place in it.
struct Lane {
  int g, q;
  __device__ Lane() : g(static_cast<int>(threadIdx.x) / 4), q(static_cast<int>(threadIdx.x) % 4) {}
  __device__ int result(int i) const { return (g + (i >= 2 ? 8 : 0)) * 8 + q * 2 + (i & 1); }
};

__global__ void probe_s8_kernel(int* d, const int8_t* a, const int8_t* b, const int* c) {
  const Lane l;
  const uint32_t fa[2] = {word_at(a + l.g * 16 + l.q * 4), word_at(a + (l.g + 8) * 16 + l.q * 4)};
  const uint32_t fb[1] = {word_at(b + l.g * 16 + l.q * 4)};
  int fc[4], fd[4];
  for (int i = 0; i < 4; ++i) fc[i] = c[l.result(i)];
  mma_m16n8k16_s8(fd, fa, fb, fc);
  for (int i = 0; i < 4; ++i) d[l.result(i)] = fd[i];
}

template <bool kBf16>
__global__ void probe_floats_kernel(float* d, const uint16_t* a, const uint16_t* b) {
  const Lane l;
  const uint16_t* row = a + l.g * 16 + l.q * 2;
  const uint32_t fa[4] = {word_at(row), word_at(row + 8 * 16), word_at(row + 8), word_at(row + 8 * 16 + 8)};
  const uint32_t fb[2] = {word_at(b + l.g * 16 + l.q * 2), word_at(b + l.g * 16 + l.q * 2 + 8)};
  const float zero[4] = {};
  float fd[4];
  if constexpr (kBf16)
    mma_m16n8k16_bf16(fd, fa, fb, zero);
  else
    mma_m16n8k16_f16(fd, fa, fb, zero);
  for (int i = 0; i < 4; ++i) d[l.result(i)] = fd[i];
}

__global__ void probe_ldmatrix_kernel(uint32_t* out, const uint16_t* in) {
  CUDA_SHARED(rows, uint16_t[32][8]);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows[lane][i] = in[lane * 8 + i];
  __syncwarp();
  uint32_t r[4];
  ldmatrix_x4(r, rows[lane]);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = r[i];
}

__global__ void probe_copies_kernel(float* out, const float* in, int n) {
  CUDA_SHARED(values, float[128]);
  const int lane = static_cast<int>(threadIdx.x);
  if (lane * 4 < n) copy_async_16(&values[lane * 4], in + lane * 4);
  commit_copies();
  wait_for_copies<0>();
  __syncthreads();
  for (int i = lane; i < n; i += kWarp) out[i] = values[n - 1 - i];
}

cudaError_t probe_s8(int* d, const int8_t* a, const int8_t* b, const int* c) {
  return CUDA_LAUNCH(probe_s8_kernel, dim3(1), dim3(32), 0, nullptr, d, a, b, c);
}
cudaError_t probe_half(float* d, const __half* a, const __half* b) {
  return CUDA_LAUNCH((probe_floats_kernel<false>), dim3(1), dim3(32), 0, nullptr, d,
                     reinterpret_cast<const uint16_t*>(a), reinterpret_cast<const uint16_t*>(b));
}
cudaError_t probe_bf16(float* d, const __nv_bfloat16* a, const __nv_bfloat16* b) {
  return CUDA_LAUNCH((probe_floats_kernel<true>), dim3(1), dim3(32), 0, nullptr, d,
                     reinterpret_cast<const uint16_t*>(a), reinterpret_cast<const uint16_t*>(b));
}
cudaError_t probe_ldmatrix(uint32_t* out, const uint16_t* in) {
  return CUDA_LAUNCH(probe_ldmatrix_kernel, dim3(1), dim3(32), 0, nullptr, out, in);
}
cudaError_t probe_copies(float* out, const float* in, int n) {
  return CUDA_LAUNCH(probe_copies_kernel, dim3(1), dim3(32), 0, nullptr, out, in, n);
}

// ---- intrinsics

struct Out {
  uint32_t* at;
  __device__ void operator()(uint32_t v) { *at++ = v; }
  __device__ void operator()(int v) { *at++ = static_cast<uint32_t>(v); }
  __device__ void operator()(float v) { *at++ = v != v ? 0x7FFFFFFFu : __float_as_uint(v); }
};

__device__ void integers(Out& out, uint32_t a, uint32_t b, uint32_t c) {
  const int sa = static_cast<int>(a), sb = static_cast<int>(b);
  out(__byte_perm(a, b, c & 0x7777));
  out(__funnelshift_r(a, b, c));
  out(__funnelshift_l(a, b, c));
  out(__popc(a));
  out(__clz(sa));
  out(__brev(a));
  out(__ffs(sa));
  out(__dp4a(sa, sb, static_cast<int>(c)));
  out(__vsub4(a, b));
  out(sa >> (b & 31));
  out(a >> (b & 31));
  out(sa / ((sb & 1023) + 1));
  out(a % ((b & 1023) + 1));
  const uint64_t wide = (static_cast<uint64_t>(a) << 32 | b) * (static_cast<uint64_t>(c) | 1);
  out(static_cast<uint32_t>(wide >> 32));
  out(static_cast<uint32_t>(wide / (static_cast<uint64_t>(c) + 3)));
  out(static_cast<uint32_t>((static_cast<int64_t>(sa) * sb) >> 17));
  out(static_cast<uint32_t>(static_cast<int8_t>(a)) + static_cast<uint8_t>(c));
}

__device__ void floats(Out& out, uint32_t a, uint32_t b, uint32_t c) {
  const float x = __uint_as_float((a & 0x807FFFFFu) | 0x3F800000u),
              y = __uint_as_float((b & 0x807FFFFFu) | 0x40000000u);
  const float z = static_cast<float>(static_cast<int>(c % 2001) - 1000);
  out(fmaf(x, y, z));
  out(__fadd_rn(__fmul_rn(x, y), z));
  out(x / y);
  out(fmaxf(y, z));
  out(rintf(z * 0.5f));
  out(floorf(z * 0.3f));
  out(sqrtf(fabsf(z)));
  out(static_cast<int>(z * 1.7f));
  out(__float2int_rn(y * 1e9f));
  out(static_cast<float>(a));
  out(__saturatef(x * 0.5f));
  out(__half2float(__ushort_as_half(static_cast<unsigned short>(a))));
  out(static_cast<uint32_t>(__half_as_ushort(__float2half_rn(x * 1e-6f))));
  out(static_cast<uint32_t>(__half_as_ushort(__float2half_rn(z * 91.7f))));
  out(static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(x * y))));
  const double wide = static_cast<double>(x) * 1.0000001 + static_cast<double>(z);
  out(static_cast<float>(wide * wide));
}

__device__ void warps(Out& out, uint32_t a, uint32_t b) {
  out(__shfl_sync(kFullMask, a, static_cast<int>(b & 31)));
  out(__shfl_up_sync(kFullMask, a, 3));
  out(__shfl_down_sync(kFullMask, a, 5, 16));
  out(__shfl_xor_sync(kFullMask, a, 9, 16));
  out(__ballot_sync(kFullMask, static_cast<int>(a & 1)));
  out(__any_sync(kFullMask, (a & 1023) == 7));
  out(__all_sync(kFullMask, a != 5));
#if CUDA_ARCH >= 800
  out(__reduce_add_sync(kFullMask, static_cast<int>(a)));
  out(__reduce_max_sync(kFullMask, static_cast<int>(a)));
#endif
}

__global__ void intrinsics_kernel(uint32_t* values, const uint32_t* in, int n_in) {
  CUDA_DYNAMIC_SHARED(uint32_t, exchange);
  CUDA_SHARED(histogram, unsigned[32]);
  const int t = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const uint32_t a = in[t % n_in], b = in[(t * 7 + 1) % n_in], c = in[(t * 13 + 5) % n_in];
  Out out{values + t * kIntrinsics};
  integers(out, a, b, c);
  floats(out, a, b, c);
  warps(out, a, b);
  if (threadIdx.x < 32) histogram[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&histogram[a & 31], 1u);
  exchange[threadIdx.x] = a ^ b;
  __syncthreads();
  out(histogram[threadIdx.x & 31]);
  out(exchange[blockDim.x - 1 - threadIdx.x]);
  out(__syncthreads_count(static_cast<int>(a & 1)));
  uint32_t local[8];
  for (int i = 0; i < 8; ++i) local[i] = in[(t + i) % n_in];
  out(local[a & 7] + local[(b >> 3) & 7]);
}

cudaError_t intrinsics(uint32_t* out, const uint32_t* in, int n_in, int n_blocks) {
  return CUDA_LAUNCH(intrinsics_kernel, dim3(static_cast<unsigned>(n_blocks)), dim3(64), 64 * sizeof(uint32_t), nullptr,
                     out, in, n_in);
}

}  // namespace steelyard::cuda_probes

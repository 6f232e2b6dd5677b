// The recurrence of Mamba 2. A warp owns one row of a head's state, which it keeps in shared memory, and takes the
// tokens in turn; a lane reads no other lane's part of the state.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

constexpr int kWarps = 4;

struct Space {
  Matrix x, b, c, dt, out;
  const float *dt_bias, *decay, *skip;
  int64_t n_head, head, n_group, n_state;
  float* state;  // [n_head, head, n_state]
};

__global__ void __launch_bounds__(kWarps* kWarp) scan_states(Space args) {
  CUDA_DYNAMIC_SHARED(float, memory);  // [kWarps, n_state]
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kWarps + warp, h = row / args.head, n = args.n_state;
  if (row >= args.n_head * args.head) return;
  float *s = memory + warp * n, *own = args.state + row * n;
  const int64_t group = h / (args.n_head / args.n_group) * n;
  for (int64_t j = lane; j < n; j += kWarp) s[j] = own[j];
  for (int64_t t = 0; t < args.out.rows; ++t) {
    const float step = softplus(args.dt.data[t * args.dt.stride + h] + args.dt_bias[h]);
    const float decay = expf(step * args.decay[h]), x = args.x.data[t * args.x.stride + row], write = step * x;
    const float *b = args.b.data + t * args.b.stride + group, *c = args.c.data + t * args.c.stride + group;
    float read = 0;
    for (int64_t j = lane; j < n; j += kWarp) {
      s[j] = fmaf(decay, s[j], write * b[j]);
      read = fmaf(s[j], c[j], read);
    }
    read = warp_sum(read);
    if (lane == 0) args.out.data[t * args.out.stride + row] = fmaf(args.skip[h], x, read);
  }
  for (int64_t j = lane; j < n; j += kWarp) own[j] = s[j];
}

}  // namespace

cudaError_t state_space(const StateSpaceArgs& args, float* state, Matrix out, cudaStream_t stream) {
  if (out.rows == 0) return cudaSuccess;
  const Space launch{args.x,    args.b,      args.c,    args.dt,      out,          args.dt_bias, args.decay,
                     args.skip, args.n_head, args.head, args.n_group, args.n_state, state};
  return CUDA_LAUNCH(scan_states, dim3(blocks_for(args.n_head * args.head, kWarps)), dim3(kWarps * kWarp),
                     static_cast<size_t>(kWarps * args.n_state) * sizeof(float), stream, launch);
}

}  // namespace steelyard::compute::cuda

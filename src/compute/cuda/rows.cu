// Operations on rows of activations: a block per row.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

struct Add {
  Matrix y;
  __device__ float operator()(float value, int64_t r, int64_t c) const { return value + y.data[r * y.stride + c]; }
};

struct AddRow {
  const float* row;
  __device__ float operator()(float value, int64_t, int64_t c) const { return value + row[c]; }
};

struct Scale {
  double factor;  // a double, so that the struct has no padding
  __device__ float operator()(float value, int64_t, int64_t) const { return value * static_cast<float>(factor); }
};

struct Softcap {
  double cap;
  __device__ float operator()(float value, int64_t, int64_t) const {
    const auto limit = static_cast<float>(cap);
    return limit * tanhf(value / limit);
  }
};

struct Swiglu {
  __device__ float operator()(float g, float u) const { return g * sigmoid(g) * u; }
};
struct Geglu {
  __device__ float operator()(float g, float u) const {
    constexpr float kRootOf2OverPi = 0.79788456080286535588f;
    return 0.5f * g * (1.0f + tanhf(kRootOf2OverPi * (g + 0.044715f * g * g * g))) * u;
  }
};
struct ClampedSwiglu {
  __device__ float operator()(float g, float u) const {
    g = fminf(g, 7.0f);
    return g * sigmoid(1.702f * g) * (fmaxf(-7.0f, fminf(u, 7.0f)) + 1.0f);
  }
};

template <class Function>
struct Gated {
  Matrix up;
  __device__ float operator()(float g, int64_t r, int64_t c) const { return Function()(g, up.data[r * up.stride + c]); }
};

struct SigmoidGate {
  Matrix gate;
  __device__ float operator()(float value, int64_t r, int64_t c) const {
    return value * sigmoid(gate.data[r * gate.stride + (gate.cols == 1 ? 0 : c)]);
  }
};

__global__ void __launch_bounds__(kMaxThreads) norm_rows(Matrix x, const float* weight, float eps, Matrix out) {
  const float* in = x.data + blockIdx.x * x.stride;
  float* to = out.data + blockIdx.x * out.stride;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) sum = fmaf(in[c], in[c], sum);
  sum = block_sum(sum);
  const float factor = 1.0f / sqrtf(sum / static_cast<float>(x.cols) + eps);
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) to[c] = in[c] * factor * weight[c];
}

struct Rope {
  int64_t n_head, head_stride, half, neighbours, transposed;
  const float *cos, *sin;  // of the first row
};

__global__ void __launch_bounds__(kMaxThreads) rope_rows(Matrix x, Rope args) {
  const int64_t half = args.half, at = blockIdx.x * half;
  const bool neighbours = args.neighbours != 0;
  for (int64_t k = threadIdx.x; k < args.n_head * half; k += blockDim.x) {
    const int64_t i = k % half;
    float* head = x.data + blockIdx.x * x.stride + k / half * args.head_stride;
    float &first = head[neighbours ? 2 * i : i], &second = head[neighbours ? 2 * i + 1 : i + half];
    const float a = first, b = second, cos = args.cos[at + i];
    const float sin = args.transposed != 0 ? -args.sin[at + i] : args.sin[at + i];
    first = a * cos - b * sin;
    second = a * sin + b * cos;
  }
}

}  // namespace

cudaError_t rms_norm(Matrix x, const float* weight, float eps, Matrix out, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(norm_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x, weight, eps,
                     out);
}

cudaError_t add(Matrix x, Matrix y, cudaStream_t stream) { return launch_change(x, Add{y}, stream); }
cudaError_t add_row(Matrix x, const float* row, cudaStream_t stream) { return launch_change(x, AddRow{row}, stream); }
cudaError_t scale(Matrix x, float factor, cudaStream_t stream) { return launch_change(x, Scale{factor}, stream); }
cudaError_t softcap(Matrix x, float cap, cudaStream_t stream) { return launch_change(x, Softcap{cap}, stream); }

cudaError_t gated(Activation activation, Matrix gate, Matrix up, cudaStream_t stream) {
  switch (activation) {
    case Activation::kSwiglu:
      return launch_change(gate, Gated<Swiglu>{up}, stream);
    case Activation::kGeglu:
      return launch_change(gate, Gated<Geglu>{up}, stream);
    case Activation::kClampedSwiglu:
      return launch_change(gate, Gated<ClampedSwiglu>{up}, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t sigmoid_gate(Matrix x, Matrix gate, cudaStream_t stream) {
  return launch_change(x, SigmoidGate{gate}, stream);
}

cudaError_t rope(Matrix x, const RopeArgs& args, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const int64_t half = args.n_dims / 2, begin = args.first_position * half;
  const Rope launch{args.n_head,
                    args.head_stride,
                    half,
                    static_cast<int64_t>(args.pairs == RopePairs::kNorm),
                    static_cast<int64_t>(args.transposed),
                    args.cos + begin,
                    args.sin + begin};
  return CUDA_LAUNCH(rope_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(args.n_head * half), 0, stream, x,
                     launch);
}

}  // namespace steelyard::compute::cuda

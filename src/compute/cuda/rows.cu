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

__device__ float activate(const ActivationKind& activation, float g, float u) {
  const auto limit = static_cast<float>(activation.limit), up_limit = static_cast<float>(activation.up_limit);
  const auto within = [](float value, float most) { return fmaxf(-most, fminf(value, most)); };
  switch (activation.kind) {
    case Activation::kSwiglu: {
      const float z = limit > 0 ? fminf(g, limit) : g;
      return z * sigmoid(z) * (limit > 0 ? within(u, limit) : u);
    }
    case Activation::kCappedSwiglu:
      return fminf(g * sigmoid(g), limit) * within(u, limit);
    case Activation::kGeglu: {
      constexpr float kRootOf2OverPi = 0.79788456080286535588f;
      return 0.5f * g * (1.0f + tanhf(kRootOf2OverPi * (g + 0.044715f * g * g * g))) * u;
    }
    case Activation::kClampedSwiglu: {
      const float z = fminf(g, 7.0f);
      return z * sigmoid(1.702f * z) * (within(u, 7.0f) + 1.0f);
    }
    case Activation::kSitu:
      return limit * tanhf(g / limit) * sigmoid(g) * (up_limit > 0 ? up_limit * tanhf(u / up_limit) : u);
    case Activation::kReluSquared: {
      const float z = fmaxf(g, 0.0f);
      return z * z;
    }
    default:  // kProduct
      return g * u;
  }
}

struct Gated {
  ActivationKind activation;
  Matrix up;
  __device__ float operator()(float g, int64_t r, int64_t c) const {
    return activate(activation, g, activation.reads_up() ? up.data[r * up.stride + c] : 0.0f);
  }
};

struct ApplyGate {
  int64_t softplus_gate;
  Matrix gate;
  __device__ float operator()(float value, int64_t r, int64_t c) const {
    const float g = gate.data[r * gate.stride + (gate.cols == 1 ? 0 : c)];
    return value * (softplus_gate != 0 ? softplus(g) : sigmoid(g));
  }
};

__global__ void __launch_bounds__(kMaxThreads) norm_rows(Matrix x, const float* weight, float eps, Matrix out) {
  const float* in = x.data + blockIdx.x * x.stride;
  float* to = out.data + blockIdx.x * out.stride;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) sum = fmaf(in[c], in[c], sum);
  sum = block_sum(sum);
  const float factor = 1.0f / sqrtf(sum / static_cast<float>(x.cols) + eps);
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x)
    to[c] = in[c] * factor * (weight != nullptr ? weight[c] : 1.0f);
}

__global__ void __launch_bounds__(kMaxThreads) center_rows(Matrix x) {
  float* row = x.data + blockIdx.x * x.stride;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) sum += row[c];
  const float mean = block_sum(sum) / static_cast<float>(x.cols);
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) row[c] -= mean;
}

__global__ void __launch_bounds__(kMaxThreads) softmax_rows(Matrix x) {
  float* row = x.data + blockIdx.x * x.stride;
  float largest = -__int_as_float(0x7F800000), sum = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) largest = fmaxf(largest, row[c]);
  largest = block_max(largest);
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) sum += row[c] = expf(row[c] - largest);
  sum = block_sum(sum);
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) row[c] /= sum;
}

struct Rope {
  int64_t n_head, head_stride, half, neighbours, transposed, step;
  const float *cos, *sin;  // of the first row
};

__global__ void __launch_bounds__(kMaxThreads) rope_rows(Matrix x, Rope args) {
  const int64_t half = args.half, at = blockIdx.x * args.step * half;
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
  return launch_change(gate, Gated{ActivationKind(activation), up}, stream);
}

cudaError_t apply_gate(Gate kind, Matrix x, Matrix gate, cudaStream_t stream) {
  return launch_change(x, ApplyGate{static_cast<int64_t>(kind == Gate::kSoftplus), gate}, stream);
}

cudaError_t center(Matrix x, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(center_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x);
}

cudaError_t softmax(Matrix x, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(softmax_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x);
}

cudaError_t rope(Matrix x, const RopeArgs& args, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const int64_t half = args.n_dims / 2, begin = args.first_position * half;
  const Rope launch{args.n_head,
                    args.head_stride,
                    half,
                    static_cast<int64_t>(args.pairs == RopePairs::kNorm),
                    static_cast<int64_t>(args.transposed),
                    args.step,
                    args.cos + begin,
                    args.sin + begin};
  return CUDA_LAUNCH(rope_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(args.n_head * half), 0, stream, x,
                     launch);
}

}  // namespace steelyard::compute::cuda

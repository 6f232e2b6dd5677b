// Backward passes of operations on rows. Sums over columns are a block's; sums over rows are made in parts of so many
// rows, which are then added in their order, so results do not depend on the device.
#include "compute/cuda/operations.h"
#include "compute/cuda/rows.cuh"

namespace steelyard::compute::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kRowsOfPart = 128;

// ---- sums over rows

struct Plain {
  Matrix x;
  __device__ float operator()(int64_t r, int64_t c) const { return x.data[r * x.stride + c]; }
};

// What a norm's weight multiplies, times the gradient of the result.
struct Normed {
  Matrix x, dout;
  const float* factors;
  __device__ float operator()(int64_t r, int64_t c) const {
    return dout.data[r * dout.stride + c] * x.data[r * x.stride + c] * factors[r];
  }
};

// parts[p][c] = the sum over rows of part p; a thread per column.
template <class Value>
__global__ void __launch_bounds__(kThreads) sum_parts(Value value, int64_t n_rows, int64_t n_cols, double* parts) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t begin = blockIdx.y * kRowsOfPart, rest = n_rows - begin;
  if (c >= n_cols) return;
  double sum = 0;
  for (int64_t r = 0; r < kRowsOfPart && r < rest; ++r) sum += static_cast<double>(value(begin + r, c));
  parts[blockIdx.y * n_cols + c] = sum;
}

__global__ void __launch_bounds__(kThreads)
    join_parts(const double* parts, int64_t n_parts, int64_t n_cols, float* sums) {
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (c >= n_cols) return;
  double sum = 0;
  for (int64_t p = 0; p < n_parts; ++p) sum += parts[p * n_cols + c];
  sums[c] += static_cast<float>(sum);
}

template <class Value>
cudaError_t add_rows(Value value, int64_t n_rows, int64_t n_cols, double* parts, float* sums, cudaStream_t stream) {
  if (n_rows == 0) return cudaSuccess;
  const unsigned n_blocks = blocks_for(n_cols, kThreads), n_parts = blocks_for(n_rows, kRowsOfPart);
  const cudaError_t error =
      CUDA_LAUNCH((sum_parts<Value>), dim3(n_blocks, n_parts), dim3(kThreads), 0, stream, value, n_rows, n_cols, parts);
  if (error != cudaSuccess) return error;
  return CUDA_LAUNCH(join_parts, dim3(n_blocks), dim3(kThreads), 0, stream, parts, static_cast<int64_t>(n_parts),
                     n_cols, sums);
}

// ---- rows

// With y = x r w and r = 1 / sqrt(mean(x^2) + eps): dx = r (w dy - x r^2 mean(w dy x)).
__global__ void __launch_bounds__(kMaxThreads)
    norm_backward_rows(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* factors) {
  const float* in = x.data + blockIdx.x * x.stride;
  const float* d = dout.data + blockIdx.x * dout.stride;
  float* to = dx.data + blockIdx.x * dx.stride;
  const auto n = static_cast<float>(x.cols);
  float squares = 0, dot = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) {
    squares = fmaf(in[c], in[c], squares);
    dot = fmaf(d[c] * weight[c], in[c], dot);
  }
  squares = block_sum(squares);
  dot = block_sum(dot);
  const float factor = 1.0f / sqrtf(squares / n + eps), pull = factor * factor * factor * dot / n;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) to[c] += d[c] * weight[c] * factor - in[c] * pull;
  if (threadIdx.x == 0) factors[blockIdx.x] = factor;
}

struct SoftcapSlope {
  Matrix out;
  double cap;
  __device__ float operator()(float d, int64_t r, int64_t c) const {
    const float tanh = out.data[r * out.stride + c] / static_cast<float>(cap);
    return d * (1.0f - tanh * tanh);
  }
};

// Derivatives of an activation of gate and up.
struct Slopes {
  float gate, up;
};
struct SwigluSlopes {
  __device__ Slopes operator()(float g, float u) const {
    const float s = sigmoid(g);
    return {u * s * (1.0f + g * (1.0f - s)), g * s};
  }
};
struct GegluSlopes {
  __device__ Slopes operator()(float g, float u) const {
    constexpr float kRootOf2OverPi = 0.79788456080286535588f, kCubic = 0.044715f;
    const float t = tanhf(kRootOf2OverPi * (g + kCubic * g * g * g));
    // Where the tanh is 1, g^2 may be infinite.
    const float bend = t * t < 1.0f ? g * (1.0f - t * t) * kRootOf2OverPi * (1.0f + 3.0f * kCubic * g * g) : 0.0f;
    return {u * 0.5f * (1.0f + t + bend), 0.5f * g * (1.0f + t)};
  }
};
struct ClampedSwigluSlopes {
  __device__ Slopes operator()(float g, float u) const {
    const float z = fminf(g, 7.0f), s = sigmoid(1.702f * z), v = fmaxf(-7.0f, fminf(u, 7.0f)) + 1.0f;
    return {g < 7.0f ? v * s * (1.0f + 1.702f * z * (1.0f - s)) : 0.0f, u > -7.0f && u < 7.0f ? z * s : 0.0f};
  }
};

template <class Function>
struct GatedBackward {
  Matrix gate, up, dup;
  __device__ float operator()(float d, int64_t r, int64_t c) const {
    const Slopes slopes = Function()(gate.data[r * gate.stride + c], up.data[r * up.stride + c]);
    dup.data[r * dup.stride + c] += d * slopes.up;
    return d * slopes.gate;
  }
};

struct SigmoidGateBackward {
  Matrix x, gate, dgate;
  __device__ float operator()(float d, int64_t r, int64_t c) const {
    const float s = sigmoid(gate.data[r * gate.stride + c]);
    dgate.data[r * dgate.stride + c] += d * x.data[r * x.stride + c] * s * (1.0f - s);
    return d * s;
  }
};

// One gate for a row.
__global__ void __launch_bounds__(kMaxThreads) gate_backward_rows(Matrix x, Matrix gate, Matrix d, Matrix dgate) {
  const float* in = x.data + blockIdx.x * x.stride;
  float* to = d.data + blockIdx.x * d.stride;
  const float s = sigmoid(gate.data[blockIdx.x * gate.stride]);
  float dot = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) {
    dot = fmaf(to[c], in[c], dot);
    to[c] *= s;
  }
  dot = block_sum(dot);
  if (threadIdx.x == 0) dgate.data[blockIdx.x * dgate.stride] += dot * s * (1.0f - s);
}

__global__ void __launch_bounds__(kMaxThreads) square_rows(Matrix x, float* sums) {
  const float* in = x.data + blockIdx.x * x.stride;
  float sum = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) sum = fmaf(in[c], in[c], sum);
  sum = block_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

}  // namespace

int64_t row_parts(int64_t n_rows) { return (n_rows + kRowsOfPart - 1) / kRowsOfPart; }

cudaError_t sum_rows(Matrix x, double* parts, float* sums, cudaStream_t stream) {
  return add_rows(Plain{x}, x.rows, x.cols, parts, sums, stream);
}

cudaError_t row_sum_squares(Matrix x, float* sums, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(square_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x, sums);
}

cudaError_t rms_norm_backward(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* dweight,
                              float* factors, double* parts, cudaStream_t stream) {
  if (x.rows == 0) return cudaSuccess;
  const cudaError_t error = CUDA_LAUNCH(norm_backward_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0,
                                        stream, x, weight, eps, dout, dx, factors);
  if (error != cudaSuccess || dweight == nullptr) return error;
  return add_rows(Normed{x, dout, factors}, x.rows, x.cols, parts, dweight, stream);
}

cudaError_t softcap_backward(Matrix out, float cap, Matrix d, cudaStream_t stream) {
  return launch_change(d, SoftcapSlope{out, cap}, stream);
}

cudaError_t gated_backward(Activation activation, Matrix gate, Matrix up, Matrix d, Matrix dup, cudaStream_t stream) {
  switch (activation) {
    case Activation::kSwiglu:
      return launch_change(d, GatedBackward<SwigluSlopes>{gate, up, dup}, stream);
    case Activation::kGeglu:
      return launch_change(d, GatedBackward<GegluSlopes>{gate, up, dup}, stream);
    case Activation::kClampedSwiglu:
      return launch_change(d, GatedBackward<ClampedSwigluSlopes>{gate, up, dup}, stream);
  }
  return cudaErrorInvalidValue;
}

cudaError_t sigmoid_gate_backward(Matrix x, Matrix gate, Matrix d, Matrix dgate, cudaStream_t stream) {
  if (gate.cols == x.cols) return launch_change(d, SigmoidGateBackward{x, gate, dgate}, stream);
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(gate_backward_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream, x, gate,
                     d, dgate);
}

}  // namespace steelyard::compute::cuda

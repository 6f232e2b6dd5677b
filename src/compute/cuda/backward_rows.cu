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
  const auto gain = [&](int64_t c) { return weight != nullptr ? weight[c] : 1.0f; };
  float squares = 0, dot = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) {
    squares = fmaf(in[c], in[c], squares);
    dot = fmaf(d[c] * gain(c), in[c], dot);
  }
  squares = block_sum(squares);
  dot = block_sum(dot);
  const float factor = 1.0f / sqrtf(squares / n + eps), pull = factor * factor * factor * dot / n;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) to[c] += d[c] * gain(c) * factor - in[c] * pull;
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
__device__ Slopes slopes_of(const ActivationKind& activation, float g, float u) {
  const auto limit = static_cast<float>(activation.limit), up_limit = static_cast<float>(activation.up_limit);
  const auto within = [](float value, float most) { return fmaxf(-most, fminf(value, most)); };
  // Of silu(z) value.
  const auto swiglu = [](float z, float value) -> Slopes {
    const float s = sigmoid(z);
    return {value * s * (1.0f + z * (1.0f - s)), z * s};
  };
  switch (activation.kind) {
    case Activation::kSwiglu: {
      if (limit == 0) return swiglu(g, u);
      const Slopes free = swiglu(fminf(g, limit), within(u, limit));  // a clamped value has no gradient
      return {g < limit ? free.gate : 0.0f, fabsf(u) < limit ? free.up : 0.0f};
    }
    case Activation::kCappedSwiglu: {
      const Slopes free = swiglu(g, within(u, limit));
      return {free.up < limit ? free.gate : 0.0f, fabsf(u) < limit ? fminf(free.up, limit) : 0.0f};
    }
    case Activation::kGeglu: {
      constexpr float kRootOf2OverPi = 0.79788456080286535588f, kCubic = 0.044715f;
      const float t = tanhf(kRootOf2OverPi * (g + kCubic * g * g * g));
      // Where the tanh is 1, g^2 may be infinite.
      const float bend = t * t < 1.0f ? g * (1.0f - t * t) * kRootOf2OverPi * (1.0f + 3.0f * kCubic * g * g) : 0.0f;
      return {u * 0.5f * (1.0f + t + bend), 0.5f * g * (1.0f + t)};
    }
    case Activation::kClampedSwiglu: {
      const float z = fminf(g, 7.0f), s = sigmoid(1.702f * z), v = within(u, 7.0f) + 1.0f;
      return {g < 7.0f ? v * s * (1.0f + 1.702f * z * (1.0f - s)) : 0.0f, fabsf(u) < 7.0f ? z * s : 0.0f};
    }
    case Activation::kSitu: {
      const float t = tanhf(g / limit), s = sigmoid(g), v = up_limit > 0 ? tanhf(u / up_limit) : 0.0f;
      const float value = up_limit > 0 ? up_limit * v : u;
      return {value * s * (1.0f - t * t + limit * t * (1.0f - s)), limit * t * s * (1.0f - v * v)};
    }
    case Activation::kReluSquared:
      return {2.0f * fmaxf(g, 0.0f), 0.0f};
    default:  // kProduct
      return {u, g};
  }
}

struct GatedBackward {
  ActivationKind activation;
  Matrix gate, up, dup;
  __device__ float operator()(float d, int64_t r, int64_t c) const {
    const bool reads_up = activation.reads_up();
    const Slopes slopes =
        slopes_of(activation, gate.data[r * gate.stride + c], reads_up ? up.data[r * up.stride + c] : 0.0f);
    if (reads_up) dup.data[r * dup.stride + c] += d * slopes.up;
    return d * slopes.gate;
  }
};

// What a gate multiplies with, and its derivative.
struct Factor {
  float value, slope;
};
__device__ Factor gate_factor(bool softplus_gate, float g) {
  const float s = sigmoid(g);
  if (softplus_gate) return {softplus(g), s};
  return {s, s * (1.0f - s)};
}

struct ApplyGateBackward {
  int64_t softplus_gate;
  Matrix x, gate, dgate;
  __device__ float operator()(float d, int64_t r, int64_t c) const {
    const Factor factor = gate_factor(softplus_gate != 0, gate.data[r * gate.stride + c]);
    dgate.data[r * dgate.stride + c] += d * x.data[r * x.stride + c] * factor.slope;
    return d * factor.value;
  }
};

// One gate for a row.
__global__ void __launch_bounds__(kMaxThreads)
    gate_backward_rows(int64_t softplus_gate, Matrix x, Matrix gate, Matrix d, Matrix dgate) {
  const float* in = x.data + blockIdx.x * x.stride;
  float* to = d.data + blockIdx.x * d.stride;
  const Factor factor = gate_factor(softplus_gate != 0, gate.data[blockIdx.x * gate.stride]);
  float dot = 0;
  for (int64_t c = threadIdx.x; c < x.cols; c += blockDim.x) {
    dot = fmaf(to[c], in[c], dot);
    to[c] *= factor.value;
  }
  dot = block_sum(dot);
  if (threadIdx.x == 0) dgate.data[blockIdx.x * dgate.stride] += dot * factor.slope;
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
  return launch_change(d, GatedBackward{ActivationKind(activation), gate, up, dup}, stream);
}

cudaError_t apply_gate_backward(Gate kind, Matrix x, Matrix gate, Matrix d, Matrix dgate, cudaStream_t stream) {
  const auto softplus_gate = static_cast<int64_t>(kind == Gate::kSoftplus);
  if (gate.cols == x.cols) return launch_change(d, ApplyGateBackward{softplus_gate, x, gate, dgate}, stream);
  if (x.rows == 0) return cudaSuccess;
  return CUDA_LAUNCH(gate_backward_rows, dim3(static_cast<unsigned>(x.rows)), threads_for(x.cols), 0, stream,
                     softplus_gate, x, gate, d, dgate);
}

}  // namespace steelyard::compute::cuda

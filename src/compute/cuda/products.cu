// The table of types, and the conversion of activations to the forms that kernels multiply.
#include "compute/cuda/device.h"
#include "compute/cuda/products.h"
#include "formats/group.h"

namespace steelyard::compute::cuda {

#define FORMAT(name, id) extern const ProductKernels k##name##Products;
#include "formats/formats.def"
#undef FORMAT

const ProductKernels& product_kernels(const formats::Format& format) {
  static const ProductKernels* const kTable[] = {
#define FORMAT(name, id) &k##name##Products,
#include "formats/formats.def"
#undef FORMAT
  };
  static constexpr formats::Type kTypes[] = {
#define FORMAT(name, id) formats::Type::name,
#include "formats/formats.def"
#undef FORMAT
  };
  size_t index = 0;
  while (kTypes[index] != format.type) ++index;
  return *kTable[index];
}

namespace {

constexpr int kThreads = 128;

// A thread per group of 16 values of a prepared row.
struct InputGroup {
  int64_t row, group;  // of the prepared input
  bool inside;

  __device__ InputGroup(const ProductArgs& args) {
    const int64_t n_groups = args.input.width / formats::kGroupLen;
    const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    row = index / n_groups;
    group = index % n_groups;
    inside = row < args.input.rows;
  }

  // Zero beyond n_in.
  __device__ void load(const ProductArgs& args, float (&values)[formats::kGroupLen]) const {
    const float* x = args.x + row % args.n_rows * args.x_stride + row / args.n_rows * args.x_step;
    CUDA_UNROLL
    for (int i = 0; i < formats::kGroupLen; ++i) {
      const int64_t at = group * formats::kGroupLen + i;
      values[i] = at < args.n_in ? x[at] : 0.0f;
    }
  }
};

__global__ void __launch_bounds__(kThreads) encode_groups(ProductArgs args, int8_t* codes, float* scales, float* sums) {
  const InputGroup at(args);
  if (!at.inside) return;
  float values[formats::kGroupLen];
  at.load(args, values);
  float largest = 0;
  CUDA_UNROLL
  for (int i = 0; i < formats::kGroupLen; ++i) largest = fmaxf(largest, fabsf(values[i]));
  const float scale = largest / 127.0f, inverse = largest > 1e-30f ? 127.0f / largest : 0.0f;
  const int64_t index = at.row * (args.input.width / formats::kGroupLen) + at.group;
  int total = 0;
  CUDA_UNROLL
  for (int i = 0; i < formats::kGroupLen; ++i) {
    const int code = __float2int_rn(values[i] * inverse);
    codes[index * formats::kGroupLen + i] = static_cast<int8_t>(code);
    total += code;
  }
  scales[index] = scale;
  sums[index] = scale * static_cast<float>(total);
}

__global__ void __launch_bounds__(kThreads) split_groups(ProductArgs args, int n_parts, uint16_t* parts, float* sums) {
  const InputGroup at(args);
  if (!at.inside) return;
  float values[formats::kGroupLen];
  at.load(args, values);
  const int64_t index = at.row * (args.input.width / formats::kGroupLen) + at.group;
  float total = 0;
  CUDA_UNROLL
  for (int i = 0; i < formats::kGroupLen; ++i) {
    float rest = values[i], held = 0;
    for (int part = 0; part < n_parts; ++part) {
      const __nv_bfloat16 rounded = __float2bfloat16_rn(rest);
      parts[(part * args.input.rows * args.input.width) + index * formats::kGroupLen + i] =
          __bfloat16_as_ushort(rounded);
      rest -= __bfloat162float(rounded);
      held += __bfloat162float(rounded);
    }
    total += held;
  }
  sums[index] = total;
}

dim3 input_grid(const ProductArgs& args) {
  const int64_t n = args.input.rows * (args.input.width / formats::kGroupLen);
  return dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads));
}

}  // namespace

cudaError_t encode_input(const ProductArgs& args, int8_t* codes, float* scales, float* sums, cudaStream_t stream) {
  return CUDA_LAUNCH(encode_groups, input_grid(args), dim3(kThreads), 0, stream, args, codes, scales, sums);
}

cudaError_t split_input(const ProductArgs& args, int n_parts, uint16_t* parts, float* sums, cudaStream_t stream) {
  return CUDA_LAUNCH(split_groups, input_grid(args), dim3(kThreads), 0, stream, args, n_parts, parts, sums);
}

}  // namespace steelyard::compute::cuda

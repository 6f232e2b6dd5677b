#include "compute/cuda/cuda_backend.h"

#include <algorithm>

#include "base/error.h"
#include "compute/cuda/cuda.h"
#include "compute/cuda/operations.h"
#include "compute/cuda/product_batches.h"

namespace steelyard::compute {
namespace {

// Size of a product, rows times columns of the result, from which on calling cuBLAS is worth it.
constexpr int64_t kBlasResults = 64 * 1024;
constexpr int kTensorCores = 80;  // the capability that has them for bfloat16 and int8

}  // namespace

CudaBackend::CudaBackend(int device, Precision precision)
    : device_(device),
      precision_(precision),
      codes_(device_),
      scales_(device_),
      sums_(device_),
      ids_(device_),
      partial_(device_),
      values_(device_),
      gradients_(device_),
      blocks_(device_) {
  if (cublasCreate(&blas_) != CUBLAS_STATUS_SUCCESS) fail(device_.name(), "cuBLAS cannot be started");
  cublasSetStream(blas_, device_.stream());
}

CudaBackend::~CudaBackend() {
  cudaStreamSynchronize(device_.stream());
  cublasDestroy(blas_);
}

void CudaBackend::zero(void* device, size_t bytes) {
  device_.use();
  run(cudaMemsetAsync(device, 0, bytes, device_.stream()), "zeroing");
}

Weight CudaBackend::load(Weight host) {
  host.memory = allocate_copy(host.data, static_cast<size_t>(host.row_bytes() * host.n_out * host.n_slices));
  host.data = host.memory.get();
  return host;
}

void CudaBackend::embed(const Weight& table, std::span<const int32_t> ids, Matrix out) {
  STEELYARD_CHECK(out.cols == table.n_in && out.rows == static_cast<int64_t>(ids.size()));
  for (const int32_t id : ids) STEELYARD_CHECK(id >= 0 && id < table.n_out);
  if (ids.empty()) return;
  auto* device_ids = ids_.array<int32_t>(ids.size());
  device_.upload(device_ids, ids.data(), ids.size_bytes());
  run(cuda::product_kernels(*table.format)
          .decode(table.data, table.row_bytes(), table.n_in, device_ids, out.rows, out.data, out.stride,
                  device_.stream()),
      "embedding");
}

// ---- matrix products

CudaBackend::Method CudaBackend::method(const formats::Format& format, int64_t n_rows, bool experts) const {
  const cuda::ProductKernels& kernels = cuda::product_kernels(format);
  STEELYARD_CHECK(kernels.rows != nullptr);
  const bool fast = precision_ == Precision::kFast, tensor_cores = device_.capability() >= kTensorCores;
  const bool few = n_rows <= cuda::kFewRows;
  if (fast && few && kernels.coded_rows != nullptr) return {kernels.coded_rows, true, 0, false};
  if (few) return {kernels.rows, false, 0, false};
  if (fast && tensor_cores && kernels.coded_tiles != nullptr) return {kernels.coded_tiles, true, 0, false};
  if (!tensor_cores || kernels.split_tiles == nullptr) return {kernels.tiles, false, 0, false};
  const bool plain = kernels.coded_tiles == nullptr;  // BF16: one part is as exact as the weights are
  return {kernels.split_tiles, false, fast && plain ? 1 : 3, plain && !experts};
}

void CudaBackend::multiply(const formats::Format& format, cuda::ProductArgs args) {
  if (args.n_rows == 0) return;
  const Method how = method(format, args.n_rows, args.row_begin != nullptr);
  if (how.coded || how.n_parts > 0) {
    cuda::PreparedInput& input = args.input;
    input.rows = args.n_rows * args.n_batch;
    input.width = (args.n_in + cuda::kTileDepth - 1) / cuda::kTileDepth * cuda::kTileDepth;
    const auto n = static_cast<size_t>(input.rows * input.width), n_groups = n / formats::kGroupLen;
    auto* sums = sums_.array<float>(n_groups);
    input.sums = sums;
    if (how.coded) {
      auto* codes = codes_.array<int8_t>(n);
      auto* scales = scales_.array<float>(n_groups);
      run(cuda::encode_input(args, codes, scales, sums, device_.stream()), "encoding activations");
      input.codes = codes;
      input.scales = scales;
    } else {
      auto* parts = codes_.array<uint16_t>(n * static_cast<size_t>(how.n_parts));
      run(cuda::split_input(args, how.n_parts, parts, sums, device_.stream()), "splitting activations");
      input.parts = parts;
      input.n_parts = how.n_parts;
    }
  }
  if (how.blas && args.n_rows * args.n_out >= kBlasResults)
    multiply_by_blas(args);
  else
    run(how.kernel(args, device_.stream()), "a matrix product");
}

// Column-major for cuBLAS: out^T [n_out, rows] = W^T' [n_in, n_out]' x^T [n_in, rows], one part of x after the other,
// the smallest first.
void CudaBackend::multiply_by_blas(const cuda::ProductArgs& args) {
  const cuda::PreparedInput& input = args.input;
  for (int64_t s = 0; s < args.n_batch; ++s) {
    for (int64_t part = input.n_parts - 1; part >= 0; --part) {
      const float one = 1.0f, keep = part == input.n_parts - 1 ? 0.0f : 1.0f;
      const uint16_t* x = input.parts + (part * input.rows + s * args.n_rows) * input.width;
      const cublasStatus_t status =
          cublasGemmEx(blas_, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(args.n_out), static_cast<int>(args.n_rows),
                       static_cast<int>(args.n_in), &one, args.weights + s * args.slice_bytes, CUDA_R_16BF,
                       static_cast<int>(args.n_in), x, CUDA_R_16BF, static_cast<int>(input.width), &keep,
                       args.out + s * args.out_step, CUDA_R_32F, static_cast<int>(args.out_stride), CUBLAS_COMPUTE_32F,
                       CUBLAS_GEMM_DEFAULT);
      if (status != CUBLAS_STATUS_SUCCESS) fail(device_.name(), "cuBLAS failed: status {}", static_cast<int>(status));
    }
  }
}

void CudaBackend::mul_mats(std::span<const Product> products) {
  device_.use();
  while (!products.empty()) {
    const cuda::ProductBatch batch = cuda::first_batch(products);
    multiply(*products[0].weight->format, batch.args);
    products = products.subspan(batch.n);
  }
}

// ---- the other operations

void CudaBackend::rms_norm(Matrix x, const float* weight, float eps, Matrix out) {
  device_.use();
  run(cuda::rms_norm(x, weight, eps, out, device_.stream()), "rms_norm");
}

void CudaBackend::add(Matrix x, Matrix y) {
  device_.use();
  run(cuda::add(x, y, device_.stream()), "add");
}

void CudaBackend::add_row(Matrix x, const float* row) {
  device_.use();
  run(cuda::add_row(x, row, device_.stream()), "add_row");
}

void CudaBackend::copy(Matrix from, Matrix to) {
  STEELYARD_CHECK(from.rows == to.rows && from.cols == to.cols);
  device_.use();
  const auto width = [](int64_t n) { return static_cast<size_t>(n) * sizeof(float); };
  run(cudaMemcpy2DAsync(to.data, width(to.stride), from.data, width(from.stride), width(from.cols),
                        static_cast<size_t>(from.rows), cudaMemcpyDeviceToDevice, device_.stream()),
      "copy");
}

void CudaBackend::scale(Matrix x, float factor) {
  device_.use();
  run(cuda::scale(x, factor, device_.stream()), "scale");
}

void CudaBackend::softcap(Matrix x, float cap) {
  device_.use();
  run(cuda::softcap(x, cap, device_.stream()), "softcap");
}

void CudaBackend::gated(Activation activation, Matrix gate, Matrix up) {
  device_.use();
  run(cuda::gated(activation, gate, up, device_.stream()), "gated");
}

void CudaBackend::apply_gate(Gate kind, Matrix x, Matrix gate) {
  STEELYARD_CHECK(gate.rows == x.rows && (gate.cols == x.cols || gate.cols == 1));
  device_.use();
  run(cuda::apply_gate(kind, x, gate, device_.stream()), "apply_gate");
}

void CudaBackend::center(Matrix x) {
  device_.use();
  run(cuda::center(x, device_.stream()), "center");
}

void CudaBackend::softmax(Matrix x) {
  device_.use();
  run(cuda::softmax(x, device_.stream()), "softmax");
}

void CudaBackend::check_cache_type(const formats::Format& format) const {
  if (!cuda::is_cache_type(format.type)) {
    fail(device_.name(), "keys and values cannot be cached in {} (known: F32, F16, BF16, Q8_0, Q4_0)", format.name);
  }
}

void CudaBackend::store(Matrix from, TypedRows to) {
  STEELYARD_CHECK(from.rows == to.rows && from.cols == to.cols && from.cols % to.format->block_len == 0);
  device_.use();
  check_cache_type(*to.format);
  run(cuda::store(from, to, device_.stream()), "store");
}

void CudaBackend::rope(Matrix x, const RopeArgs& args) {
  device_.use();
  run(cuda::rope(x, args, device_.stream()), "rope");
}

void CudaBackend::attentions(std::span<const Attention> sequences) {
  device_.use();
  for (const Attention& sequence : sequences) attend(sequence.args, sequence.out);
}

void CudaBackend::attend(const AttentionArgs& args, Matrix out) {
  if (args.head_v > cuda::kMaxHeadValue) {
    fail(device_.name(), "heads of {} values, at most {} are supported", args.head_v, cuda::kMaxHeadValue);
  }
  const int64_t n_splits = cuda::attention_splits(args, device_.n_processors());
  float* partial = nullptr;
  if (n_splits > 1) {
    partial = partial_.array<float>(static_cast<size_t>(cuda::attention_partial_size(args, n_splits)));
  }
  run(cuda::attention(args, out, n_splits, partial, device_.stream()), "attention");
}

void CudaBackend::route(Matrix logits, const RouteArgs& args, Routing& routing) {
  STEELYARD_CHECK(logits.rows == routing.n_tokens && logits.cols == routing.n_expert && args.n_used == routing.n_used);
  device_.use();
  run(cuda::route(logits, args, routing, device_.stream()), "route");
}

void CudaBackend::add_row_experts(Matrix y, const float* rows, const Routing& routing) {
  device_.use();
  run(cuda::add_row_experts(y, rows, routing, device_.stream()), "add_row_experts");
}

void CudaBackend::gather(Matrix x, const Routing& routing, Matrix out) {
  device_.use();
  run(cuda::gather(x, routing, out, device_.stream()), "gather");
}

void CudaBackend::combine(Matrix y, const Routing& routing, Matrix out) {
  device_.use();
  run(cuda::combine(y, routing, out, device_.stream()), "combine");
}

void CudaBackend::sum_squares(Matrix x, double* sums) {
  device_.use();
  run(cuda::sum_squares(x, 1, nullptr, sums, nullptr, device_.stream()), "sum_squares");
}

void CudaBackend::sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) {
  device_.use();
  run(cuda::sum_squares(x, routing.n_expert, routing.row_begin, sums, counts, device_.stream()), "sum_squares_experts");
}

void CudaBackend::second_moments(Matrix x, Matrix y, float* sums) {
  device_.use();
  run(cuda::second_moments(x, y, 1, nullptr, sums, nullptr, device_.stream()), "second_moments");
}

void CudaBackend::second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) {
  device_.use();
  run(cuda::second_moments(x, y, routing.n_expert, routing.row_begin, sums, counts, device_.stream()),
      "second_moments_experts");
}

std::unique_ptr<Backend> make_cuda_backend(int device, Precision precision) {
  return std::make_unique<CudaBackend>(device, precision);
}

}  // namespace steelyard::compute

// Backward passes. Those of products decode a weight to F32, some rows at a time: with the many rows of x of a backward
// pass, decoding is a small part of the work, and kernels that know no types do the rest.
#include <algorithm>

#include "compute/cuda/backward_attention.h"
#include "compute/cuda/backward_memory.h"
#include "compute/cuda/backward_products.h"
#include "compute/cuda/cuda_backend.h"
#include "compute/cuda/operations.h"
#include "compute/cuda/product_batches.h"

namespace steelyard::compute {
namespace {

using cuda::ProductArgs;

// Slices [first, first + n) of a product and of each the rows [row, row + n_rows).
ProductArgs part_of(ProductArgs args, int64_t first, int64_t n, int64_t row, int64_t n_rows) {
  args.weights += first * args.slice_bytes + row * args.row_bytes;
  args.out += row;
  args.n_out = n_rows;
  if (args.row_begin != nullptr) {
    args.row_begin += first;
    args.n_expert = n;
  } else {
    args.x += first * args.x_step;
    args.out += first * args.out_step;
    args.n_batch = n;
  }
  return args;
}

// work(part) for parts of a weight of at most so many values: whole slices, or rows of one.
template <class Work>
void for_parts(const ProductArgs& args, int64_t most, const Work& work) {
  const int64_t n_rows = std::max<int64_t>(1, most / args.n_in), n_slices = cuda::n_slices(args);
  const int64_t slices_of_part = std::max<int64_t>(1, n_rows / args.n_out);
  for (int64_t slice = 0; slice < n_slices && args.n_rows > 0; slice += slices_of_part) {
    for (int64_t row = 0; row < args.n_out; row += n_rows) {
      work(part_of(args, slice, std::min(slices_of_part, n_slices - slice), row, std::min(n_rows, args.n_out - row)));
    }
  }
}

int64_t rows_of(const ProductArgs& part) { return cuda::n_slices(part) * part.n_out; }

}  // namespace

const int32_t* CudaBackend::used_rows(const ProductArgs& part) {
  auto* rows = ids_.array<int32_t>(static_cast<size_t>(rows_of(part)));
  run(cuda::used_rows(part, rows, device_.stream()), "listing rows of experts");
  return rows;
}

const float* CudaBackend::decode(const formats::Format& format, const std::byte* blocks, const ProductArgs& part,
                                 const int32_t* rows) {
  const cuda::ProductKernels& kernels = cuda::product_kernels(format);
  STEELYARD_CHECK(kernels.decode != nullptr);
  auto* values = values_.array<float>(static_cast<size_t>(rows_of(part) * part.n_in));
  run(kernels.decode(blocks, part.row_bytes, part.n_in, rows, rows_of(part), values, part.n_in, device_.stream()),
      "decoding weights");
  return values;
}

void CudaBackend::mul_mats_transposed(std::span<const Product> products) {
  device_.use();
  while (!products.empty()) {
    const cuda::ProductBatch batch = cuda::first_batch(products, true);
    const Product& first = products[0];
    for_parts(batch.args, cuda::values_at_once, [&](const ProductArgs& part) {
      const float* weights = decode(*first.weight->format, part.weights, part, used_rows(part));
      float* dx = first.x.data + (part.x - batch.args.x);
      run(cuda::multiply_transposed(part, weights, dx, device_.stream()), "a transposed product");
    });
    products = products.subspan(batch.n);
  }
}

void CudaBackend::scale_gradients(std::span<const ScaleGradient> gradients) {
  device_.use();
  std::vector<Product> products;
  for (const ScaleGradient& gradient : gradients) products.push_back(gradient.product);
  for (size_t begin = 0, end = 0; begin < products.size(); begin = end) {
    const cuda::ProductBatch batch = cuda::first_batch(std::span(products).subspan(begin));
    end = begin + batch.n;
    for (size_t i = begin; i < end; ++i) STEELYARD_CHECK(gradients[i].sums == gradients[begin].sums);
    const Weight& weight = *products[begin].weight;
    if (weight.format->n_scales == 0) continue;
    for_parts(batch.args, cuda::values_at_once, [&](const ProductArgs& part) {
      const int64_t row = (part.weights - weight.data) / part.row_bytes;
      add_scale_gradients(
          *weight.format, part,
          gradients[begin].sums + row * (weight.n_in / weight.format->block_len) * weight.format->n_scales);
    });
  }
}

// Values are linear in the scales: what each scale multiplies is decoded from a copy of the blocks in which it is 1.
void CudaBackend::add_scale_gradients(const formats::Format& format, const ProductArgs& part, float* sums) {
  if (format.block_len == 1) {  // the value itself
    run(cuda::multiply_outer(part, sums, true, device_.stream()), "gradients of weights");
    return;
  }
  const auto n_values = static_cast<size_t>(rows_of(part) * part.n_in);
  const auto n_bytes = static_cast<size_t>(rows_of(part) * part.row_bytes);
  auto* gradients = gradients_.array<float>(n_values);
  auto* blocks = blocks_.array<std::byte>(n_bytes);
  run(cuda::multiply_outer(part, gradients, false, device_.stream()), "gradients of weights");
  run(cudaMemcpyAsync(blocks, part.weights, n_bytes, cudaMemcpyDeviceToDevice, device_.stream()), "copying blocks");
  const int32_t* rows = used_rows(part);
  for (int number = 0; number < format.n_scales; ++number) {
    run(cuda::product_kernels(format).write_scales(blocks, static_cast<int64_t>(n_values) / format.block_len, nullptr,
                                                   number, device_.stream()),
        "writing scales");
    const float* units = decode(format, blocks, part, rows);
    run(cuda::add_scale_gradients(part, gradients, units, rows, format, number, sums, device_.stream()),
        "gradients of scales");
  }
}

void CudaBackend::write_scales(const Weight& weight, const float* scales) {
  device_.use();
  const formats::Format& format = *weight.format;
  if (format.n_scales == 0) return;
  auto* const blocks = const_cast<std::byte*>(weight.data);  // the caller's own: see operations.def
  const int64_t n_blocks = weight.n_slices * weight.n_out * (weight.n_in / format.block_len);
  run(cuda::product_kernels(format).write_scales(blocks, n_blocks, scales, 0, device_.stream()), "writing scales");
}

void CudaBackend::attentions_backward(std::span<const AttentionGradient> sequences) {
  device_.use();
  for (const AttentionGradient& at : sequences) {
    STEELYARD_CHECK(at.args.k.format->type == formats::Type::F32 && at.args.v.format->type == formats::Type::F32);
    if (at.args.q.rows == 0) continue;
    cuda::AttentionPart part(at, cuda::values_at_once);
    const auto n = static_cast<size_t>(part.n_rows() * part.n_keys);
    auto *p = values_.array<float>(n), *dp = gradients_.array<float>(n);
    auto* dsinks = partial_.array<float>(static_cast<size_t>(part.n_rows()));
    for (part.query = 0; part.query < at.args.q.rows; part.query += part.n_queries) {
      for (part.head_kv = 0; part.head_kv < at.args.n_head_kv; part.head_kv += part.n_heads_kv) {
        run(cuda::attention_backward(at, part, p, dp, dsinks, device_.stream()), "attentions_backward");
      }
    }
  }
}

void CudaBackend::rms_norm_backward(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* dweight) {
  device_.use();
  auto* factors = partial_.array<float>(static_cast<size_t>(x.rows));
  auto* parts = sums_.array<double>(static_cast<size_t>(cuda::row_parts(x.rows) * x.cols));
  run(cuda::rms_norm_backward(x, weight, eps, dout, dx, dweight, factors, parts, device_.stream()),
      "rms_norm_backward");
}

void CudaBackend::softcap_backward(Matrix out, float cap, Matrix d) {
  device_.use();
  run(cuda::softcap_backward(out, cap, d, device_.stream()), "softcap_backward");
}

void CudaBackend::gated_backward(Activation activation, Matrix gate, Matrix up, Matrix d, Matrix dup) {
  device_.use();
  run(cuda::gated_backward(activation, gate, up, d, dup, device_.stream()), "gated_backward");
}

void CudaBackend::apply_gate_backward(Gate kind, Matrix x, Matrix gate, Matrix d, Matrix dgate) {
  STEELYARD_CHECK(gate.rows == x.rows && (gate.cols == x.cols || gate.cols == 1) && dgate.cols == gate.cols);
  device_.use();
  run(cuda::apply_gate_backward(kind, x, gate, d, dgate, device_.stream()), "apply_gate_backward");
}

void CudaBackend::gather_backward(Matrix drows, const Routing& routing, Matrix dx) {
  device_.use();
  run(cuda::gather_backward(drows, routing, dx, device_.stream()), "gather_backward");
}

void CudaBackend::combine_backward(Matrix y, const Routing& routing, Matrix dout, Matrix dy, float* dweight) {
  device_.use();
  run(cuda::combine_backward(y, routing, dout, dy, dweight, device_.stream()), "combine_backward");
}

void CudaBackend::route_backward(Matrix logits, const RouteArgs& args, const Routing& routing, const float* dweight,
                                 Matrix dlogits) {
  device_.use();
  run(cuda::route_backward(logits, args, routing, dweight, dlogits, device_.stream()), "route_backward");
}

void CudaBackend::sum_rows(Matrix x, float* sums) {
  device_.use();
  auto* parts = sums_.array<double>(static_cast<size_t>(cuda::row_parts(x.rows) * x.cols));
  run(cuda::sum_rows(x, parts, sums, device_.stream()), "sum_rows");
}

void CudaBackend::sum_rows_experts(Matrix x, const Routing& routing, float* sums) {
  device_.use();
  run(cuda::sum_rows_experts(x, routing, sums, device_.stream()), "sum_rows_experts");
}

void CudaBackend::row_sum_squares(Matrix x, float* sums) {
  device_.use();
  run(cuda::row_sum_squares(x, sums, device_.stream()), "row_sum_squares");
}

void CudaBackend::divergence(Matrix logits, const TargetRows& target, float* loss) {
  device_.use();
  auto* const named = gradients_.array<float>(static_cast<size_t>(logits.rows * target.n));
  run(cuda::divergence(logits, target, named, loss, device_.stream()), "divergence");
}

void CudaBackend::adam(const AdamArgs& args, int64_t n, const float* gradients, float* m, float* v, float* values) {
  device_.use();
  run(cuda::adam(args, n, gradients, m, v, values, device_.stream()), "adam");
}

}  // namespace steelyard::compute

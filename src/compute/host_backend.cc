#include "compute/host_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/parallel.h"
#include "compute/routing.h"

namespace steelyard::compute {

Buffer HostBackend::allocate(size_t bytes) {
  constexpr size_t kAlignment = 64;  // one cache line, one AVX-512 register
  const size_t rounded = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer(static_cast<std::byte*>(memory), [](std::byte* p) { std::free(p); });
}

// The pointer of no values may be null, which memcpy does not take.
void HostBackend::upload(void* device, const void* host, size_t bytes) {
  if (bytes > 0) std::memcpy(device, host, bytes);
}
void HostBackend::download(void* host, const void* device, size_t bytes) {
  if (bytes > 0) std::memcpy(host, device, bytes);
}
void HostBackend::zero(void* device, size_t bytes) { std::memset(device, 0, bytes); }

void HostBackend::embed(const Weight& table, std::span<const int32_t> ids, Matrix out) {
  STEELYARD_CHECK(out.cols == table.n_in && out.rows == static_cast<int64_t>(ids.size()));
  for (int64_t t = 0; t < out.rows; ++t) {
    STEELYARD_CHECK(ids[t] >= 0 && ids[t] < table.n_out);
    table.format->decode(table.row(0, ids[t]), table.n_in / table.format->block_len, out.row(t));
  }
}

void HostBackend::copy(Matrix from, Matrix to) {
  STEELYARD_CHECK(from.rows == to.rows && from.cols == to.cols);
  for (int64_t t = 0; t < from.rows; ++t) {
    std::memcpy(to.row(t), from.row(t), static_cast<size_t>(from.cols) * sizeof(float));
  }
}

void HostBackend::store(Matrix from, TypedRows to) {
  STEELYARD_CHECK(from.rows == to.rows && from.cols == to.cols && from.cols % to.format->block_len == 0);
  parallel_for(from.rows, 4, [&](int64_t t) {
    if (to.format->type == formats::Type::F32) {  // as it is, NaN and all
      std::memcpy(to.row(t), from.row(t), static_cast<size_t>(from.cols) * sizeof(float));
    } else {
      to.format->encoder->encode_row(from.row(t), nullptr, from.cols / to.format->block_len, formats::Effort::kFast,
                                     to.row(t));
    }
  });
}

void HostBackend::split_by_expert(std::span<const Product> products) {
  products_.clear();
  for (size_t i = 0, end = 0; i < products.size(); i = end) {
    const Routing* const routing = products[i].routing;
    end = i + 1;
    if (routing == nullptr) {
      products_.push_back(products[i]);
      continue;
    }
    // Products of one input stay together, expert by expert.
    while (end < products.size() && products[end].routing == routing && products[end].x == products[i].x) ++end;
    for (int64_t e = 0; e < routing->n_expert; ++e) {
      const int64_t begin = routing->row_begin[e], n = routing->row_begin[e + 1] - begin;
      for (size_t j = i; n > 0 && j < end; ++j) {
        products_.push_back(
            {products[j].weight, e, products[j].x.slice(begin, n), products[j].out.slice(begin, n), routing});
      }
    }
  }
}

void HostBackend::mul_mats(std::span<const Product> products) {
  split_by_expert(products);
  multiply(products_);
}

void HostBackend::mul_mats_transposed(std::span<const Product> products) {
  split_by_expert(products);
  multiply_transposed(products_);
}

void HostBackend::scale_gradients(std::span<const ScaleGradient> gradients) {
  std::vector<ScaleGradient> slices;
  for (const ScaleGradient& gradient : gradients) {
    split_by_expert({&gradient.product, 1});
    for (const Product& product : products_) slices.push_back({product, gradient.sums});
  }
  add_scale_gradients(slices);
}

void HostBackend::add_row_experts(Matrix y, const float* rows, const Routing& routing) {
  for (int64_t e = 0; e < routing.n_expert; ++e) {
    const int64_t begin = routing.row_begin[e], n = routing.row_begin[e + 1] - begin;
    if (n > 0) add_row(y.slice(begin, n), rows + e * y.cols);
  }
}

void HostBackend::route(Matrix logits, const RouteArgs& args, Routing& routing) {
  STEELYARD_CHECK(logits.rows == routing.n_tokens && logits.cols == routing.n_expert && args.n_used == routing.n_used);
  std::vector<float> scratch(static_cast<size_t>(routing.n_expert) * 2);
  for (int64_t t = 0; t < logits.rows; ++t) {
    select_experts({logits.row(t), static_cast<size_t>(logits.cols)}, args, scratch, routing.expert + t * args.n_used,
                   routing.weight + t * args.n_used, args.chosen != nullptr ? args.chosen + t * args.n_used : nullptr);
  }
  sort_by_expert(routing);
}

void HostBackend::route_backward(Matrix logits, const RouteArgs& args, const Routing& routing, const float* dweight,
                                 Matrix dlogits) {
  std::vector<double> scratch(static_cast<size_t>(routing.n_expert + routing.n_used));
  for (int64_t t = 0; t < logits.rows; ++t) {
    add_selection_gradient({logits.row(t), static_cast<size_t>(logits.cols)}, args, routing.expert + t * args.n_used,
                           dweight + t * args.n_used, scratch, dlogits.row(t));
  }
}

void HostBackend::sum_rows_experts(Matrix x, const Routing& routing, float* sums) {
  for (int64_t e = 0; e < routing.n_expert; ++e) {
    const int64_t begin = routing.row_begin[e], n = routing.row_begin[e + 1] - begin;
    if (n > 0) sum_rows(x.slice(begin, n), sums + e * x.cols);
  }
}

void HostBackend::write_scales(const Weight& weight, const float* scales) {
  const formats::Format& format = *weight.format;
  if (format.n_scales == 0) return;
  auto* const blocks = const_cast<std::byte*>(weight.data);  // the caller's own: see operations.def
  const int64_t n_blocks = weight.n_slices * weight.n_out * weight.n_in / format.block_len;
  parallel_for(n_blocks, 1024,
               [&](int64_t b) { format.write_scales(scales + b * format.n_scales, blocks + b * format.block_bytes); });
}

}  // namespace steelyard::compute

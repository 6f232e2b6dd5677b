#include "compute/cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>

#include "base/parallel.h"

namespace steelyard::compute {

CpuBackend::CpuBackend(Precision precision)
    : precision_(precision),
      target_(simd::chosen_target()),
      kernels_(cpu::kernels(target_)),
      delta_net_(cpu::delta_net_kernels(target_)),
      gemm_(cpu::gemm(target_)),
      byte_panels_(cpu::byte_panels(target_)) {}

std::vector<CpuBackend::Workspace>& CpuBackend::workspaces() {
  const auto n_threads = static_cast<size_t>(omp_get_max_threads());
  if (workspaces_.size() < n_threads) workspaces_.resize(n_threads);
  return workspaces_;
}

void CpuBackend::rms_norm(Matrix x, const float* weight, float eps, Matrix out) {
  parallel_for(x.rows, 16, [&](int64_t t) {
    const float* in = x.row(t);
    const float mean = kernels_.dot(in, in, x.cols) / static_cast<float>(x.cols);
    const float scale = 1.0f / std::sqrt(mean + eps);
    float* to = out.row(t);
    for (int64_t c = 0; c < x.cols; ++c) to[c] = in[c] * scale * (weight != nullptr ? weight[c] : 1.0f);
  });
}

void CpuBackend::add(Matrix x, Matrix y) {
  parallel_for(x.rows, 16, [&](int64_t t) { kernels_.add_scaled(y.row(t), 1.0f, x.row(t), x.cols); });
}

void CpuBackend::add_row(Matrix x, const float* row) {
  parallel_for(x.rows, 16, [&](int64_t t) { kernels_.add_scaled(row, 1.0f, x.row(t), x.cols); });
}

void CpuBackend::scale(Matrix x, float factor) {
  parallel_for(x.rows, 16, [&](int64_t t) { kernels_.scale(x.row(t), x.cols, factor); });
}

void CpuBackend::softcap(Matrix x, float cap) {
  parallel_for(x.rows, 1, [&](int64_t t) { kernels_.softcap(x.row(t), x.cols, cap); });
}

const cpu::LimitedKernels* CpuBackend::limited_kernels(const Activation& activation) const {
  switch (activation.kind) {
    case Activation::kSwiglu:
      return activation.limit > 0 ? &kernels_.limited_swiglu : nullptr;
    case Activation::kCappedSwiglu:
      return &kernels_.capped_swiglu;
    case Activation::kSitu:
      return &kernels_.situ;
    case Activation::kReluSquared:
      return &kernels_.relu_squared;
    case Activation::kProduct:
      return &kernels_.product;
    case Activation::kGeglu:
    case Activation::kClampedSwiglu:
      return nullptr;
  }
  STEELYARD_CHECK(false);
}

void CpuBackend::gated(Activation activation, Matrix gate, Matrix up) {
  if (const cpu::LimitedKernels* const limited = limited_kernels(activation)) {
    if (activation.kind == Activation::kReluSquared) up = gate;  // there need be none
    parallel_for(gate.rows, 8, [&](int64_t t) {
      limited->apply(gate.row(t), up.row(t), gate.cols, activation.limit, activation.up_limit);
    });
    return;
  }
  const auto kernel = activation.kind == Activation::kSwiglu  ? kernels_.swiglu
                      : activation.kind == Activation::kGeglu ? kernels_.geglu
                                                              : kernels_.clamped_swiglu;
  parallel_for(gate.rows, 8, [&](int64_t t) { kernel(gate.row(t), up.row(t), gate.cols); });
}

void CpuBackend::rope(Matrix x, const RopeArgs& args) {
  const int64_t half = args.n_dims / 2;
  const int64_t step = args.pairs == RopePairs::kNorm ? 2 : 1;        // from pair i to pair i + 1
  const int64_t partner = args.pairs == RopePairs::kNorm ? 1 : half;  // from a pair's first to its second
  parallel_for(x.rows, 16, [&](int64_t t) {
    const float* cos = args.cos + (args.first_position + t * args.step) * half;
    const float* sin = args.sin + (args.first_position + t * args.step) * half;
    for (int64_t h = 0; h < args.n_head; ++h) {
      float* v = x.row(t) + h * args.head_stride;
      for (int64_t i = 0; i < half; ++i) {
        const float a = v[i * step], b = v[i * step + partner], s = args.transposed ? -sin[i] : sin[i];
        v[i * step] = a * cos[i] - b * s;
        v[i * step + partner] = a * s + b * cos[i];
      }
    }
  });
}

void CpuBackend::gather(Matrix x, const Routing& routing, Matrix out) {
  parallel_for(routing.n_slots(), 16, [&](int64_t r) { std::copy_n(x.row(routing.token[r]), x.cols, out.row(r)); });
}

void CpuBackend::combine(Matrix y, const Routing& routing, Matrix out) {
  parallel_for(routing.n_tokens, 16, [&](int64_t t) {
    std::fill_n(out.row(t), out.cols, 0.0f);
    for (int64_t slot = t * routing.n_used; slot < (t + 1) * routing.n_used; ++slot) {
      kernels_.add_scaled(y.row(routing.row[slot]), routing.weight[slot], out.row(t), out.cols);
    }
  });
}

// Columns are split over threads, so that each sum has one owner, and the same order of addition for any number of
// threads.
void CpuBackend::sum_squares(Matrix x, double* sums) {
  constexpr int64_t kColumns = 256;
  parallel_for((x.cols + kColumns - 1) / kColumns, 1, [&](int64_t part) {
    const int64_t begin = part * kColumns, n = std::min(kColumns, x.cols - begin);
    for (int64_t t = 0; t < x.rows; ++t) kernels_.add_squares(x.row(t) + begin, sums + begin, n);
  });
}

void CpuBackend::sum_squares_experts(Matrix x, const Routing& routing, double* sums, int64_t* counts) {
  parallel_for(routing.n_expert, 1, [&](int64_t e) {
    const int64_t begin = routing.row_begin[e], end = routing.row_begin[e + 1];
    for (int64_t r = begin; r < end; ++r) kernels_.add_squares(x.row(r), sums + e * x.cols, x.cols);
    counts[e] += end - begin;
  });
}

}  // namespace steelyard::compute

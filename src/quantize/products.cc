// A task is one panel of columns with all rows, so that every value of c belongs to one thread.
#include "quantize/products.h"

#include <vector>

#include "base/parallel.h"
#include "simd/target.h"

namespace steelyard::quantize {

// Defined in products.simd.cc, once per target that has encoders.
#define TARGET(enumerator, name, encoders, ...) \
  namespace encoders {                          \
  extern const ProductKernels kProductKernels;  \
  }
#include "simd/targets.def"
#undef TARGET

namespace {

const ProductKernels& kernels() {
  static constexpr simd::PerTarget<ProductKernels> kKernels({
#define TARGET(enumerator, name, encoders, ...) &encoders::kProductKernels,
#include "simd/targets.def"
#undef TARGET
  });
  return kKernels[simd::chosen_target()];
}

}  // namespace

void multiply(int64_t m, int64_t n, int64_t depth, const float* a, const float* b, float* c) {
  const auto multiply_panel = kernels().panel;
  const int64_t run = run_length(depth);
  parallel_for((n + kPanelWidth - 1) / kPanelWidth, 1, [&](int64_t task) {
    const int64_t begin = task * kPanelWidth, width = std::min(kPanelWidth, n - begin);
    std::vector<float> panel(static_cast<size_t>(run * kPanelWidth)),
        narrow(width < kPanelWidth ? static_cast<size_t>(m * kPanelWidth) : 0);
    float* const out = narrow.empty() ? c + begin : narrow.data();
    const int64_t stride = narrow.empty() ? n : kPanelWidth;
    for (int64_t first = 0; first < depth; first += run) {
      const int64_t n_here = std::min(run, depth - first);
      for (int64_t k = 0; k < n_here; ++k)
        std::copy_n(b + (first + k) * n + begin, width, panel.data() + k * kPanelWidth);
      multiply_panel(m, n_here, a + first, depth, panel.data(), out, stride, first > 0);
    }
    for (int64_t r = 0; !narrow.empty() && r < m; ++r) std::copy_n(out + r * stride, width, c + r * n + begin);
  });
}

void subtract_product(int64_t m, int64_t n, int64_t depth, const double* a, Strides a_strides, const double* b,
                      int64_t ldb, double* c, int64_t ldc) {
  kernels().subtract(m, n, depth, a, a_strides, b, ldb, c, ldc);
}

}  // namespace steelyard::quantize

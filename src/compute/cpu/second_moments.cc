// Second moments on the CPU: x^T y by panels of columns. A task is some columns, or an expert, so that the sums are the
// same for any number of threads.
#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard {
namespace {

constexpr int64_t kColumns = 64;  // rows of the result that a task makes
constexpr int64_t kTokens = 256;  // at a time: their columns stay in the cache

// sums[a - begin][b] += sum over rows of x[r][a] y[r][b] for a in [begin, end).
void add_moments(const cpu::Gemm& gemm, Matrix x, Matrix y, int64_t begin, int64_t end, float* sums) {
  std::vector<float> turned(static_cast<size_t>((end - begin) * kTokens));
  for (int64_t first = 0; first < x.rows; first += kTokens) {
    const int64_t n = std::min(kTokens, x.rows - first);
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t a = begin; a < end; ++a) turned[static_cast<size_t>((a - begin) * n + t)] = x.row(first + t)[a];
    }
    const auto multiply = [&](int64_t b, int64_t width, const float* panel, int64_t stride) {
      gemm.multiply(end - begin, width, n, turned.data(), n, panel, stride, sums + b, x.cols, /*add=*/true);
    };
    int64_t b = 0;
    for (; b + gemm.panel <= x.cols; b += gemm.panel) multiply(b, gemm.panel, y.row(first) + b, y.stride);
    if (b == x.cols) continue;
    // A panel is read as a whole, and beyond the last columns there may be no memory.
    std::vector<float> last(static_cast<size_t>(n * gemm.panel));
    for (int64_t t = 0; t < n; ++t) std::copy(y.row(first + t) + b, y.row(first + t) + y.cols, &last[t * gemm.panel]);
    multiply(b, x.cols - b, last.data(), gemm.panel);
  }
}

}  // namespace

void CpuBackend::second_moments(Matrix x, Matrix y, float* sums) {
  parallel_for((x.cols + kColumns - 1) / kColumns, 1, [&](int64_t task) {
    const int64_t begin = task * kColumns;
    add_moments(gemm_, x, y, begin, std::min(begin + kColumns, x.cols), sums + begin * x.cols);
  });
}

void CpuBackend::second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) {
  parallel_for(routing.n_expert, 1, [&](int64_t e) {
    const int64_t begin = routing.row_begin[e], n = routing.row_begin[e + 1] - begin;
    for (int64_t c = 0; c < x.cols; c += kColumns) {
      add_moments(gemm_, x.slice(begin, n), y.slice(begin, n), c, std::min(c + kColumns, x.cols), sums + (e * x.cols + c) * x.cols);
    }
    counts[e] += n;
  });
}

}  // namespace steelyard

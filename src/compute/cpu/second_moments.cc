// Hessians and cross-covariances on the CPU: x^T y by panels of columns. A task is some columns, or an expert, so that
// the sums are the same for any number of threads. Of x^T x only the part right of the diagonal is computed.
#include <algorithm>
#include <utility>
#include <vector>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {
namespace {

constexpr int64_t kColumns = 64;  // rows of the result that a task makes: whole panels
constexpr int64_t kTokens = 256;  // at a time: their columns stay in the cache

// sums[a][b] += sum over rows of x[r][a] y[r][b] for a in [begin, end), b from first_column on.
void add_moments(const cpu::Gemm& gemm, Matrix x, Matrix y, int64_t begin, int64_t end, int64_t first_column,
                 float* sums) {
  std::vector<float> turned(static_cast<size_t>((end - begin) * kTokens));
  for (int64_t first = 0; first < x.rows; first += kTokens) {
    const int64_t n = std::min(kTokens, x.rows - first);
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t a = begin; a < end; ++a) turned[static_cast<size_t>((a - begin) * n + t)] = x.row(first + t)[a];
    }
    const auto multiply = [&](int64_t b, int64_t width, const float* panel, int64_t stride) {
      gemm.multiply(end - begin, width, n, turned.data(), n, panel, stride, sums + begin * x.cols + b, x.cols,
                    /*add=*/true);
    };
    int64_t b = first_column;
    for (; b + gemm.panel <= x.cols; b += gemm.panel) multiply(b, gemm.panel, y.row(first) + b, y.stride);
    if (b == x.cols) continue;
    // A panel is read as a whole, and beyond the last columns there may be no memory.
    std::vector<float> last(static_cast<size_t>(n * gemm.panel));
    for (int64_t t = 0; t < n; ++t) std::copy(y.row(first + t) + b, y.row(first + t) + y.cols, &last[t * gemm.panel]);
    multiply(b, x.cols - b, last.data(), gemm.panel);
  }
}

// Columns [0, begin) of rows [begin, end) from the rows above.
void mirror(int64_t begin, int64_t end, int64_t n, float* sums) {
  for (int64_t b = 0; b < begin; ++b) {
    for (int64_t a = begin; a < end; ++a) sums[a * n + b] = sums[b * n + a];
  }
}

}  // namespace

void CpuBackend::second_moments(Matrix x, Matrix y, float* sums) {
  const int64_t n_tasks = (x.cols + kColumns - 1) / kColumns;
  const auto columns = [&](int64_t task) {
    return std::pair(task * kColumns, std::min((task + 1) * kColumns, x.cols));
  };
  parallel_for(n_tasks, 1, [&](int64_t task) {
    const auto [begin, end] = columns(task);
    add_moments(gemm_, x, y, begin, end, x == y ? begin : 0, sums);
  });
  if (x != y) return;
  parallel_for(n_tasks, 1, [&](int64_t task) {
    const auto [begin, end] = columns(task);
    mirror(begin, end, x.cols, sums);
  });
}

void CpuBackend::second_moments_experts(Matrix x, Matrix y, const Routing& routing, float* sums, int64_t* counts) {
  const int64_t n = x.cols;
  parallel_for(routing.n_expert, 1, [&](int64_t e) {
    const int64_t first = routing.row_begin[e], n_rows = routing.row_begin[e + 1] - first;
    float* const own = sums + e * n * n;
    for (int64_t begin = 0; begin < n; begin += kColumns) {
      const int64_t end = std::min(begin + kColumns, n);
      add_moments(gemm_, x.slice(first, n_rows), y.slice(first, n_rows), begin, end, x == y ? begin : 0, own);
      if (x == y) mirror(begin, end, n, own);
    }
    counts[e] += n_rows;
  });
}

}  // namespace steelyard::compute

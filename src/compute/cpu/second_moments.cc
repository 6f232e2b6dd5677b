// Second moments on the CPU: x^T x by GEMM, a panel of columns or an expert for each task, so that the sums are the
// same for any number of threads.
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard {
namespace {

constexpr int64_t kPanel = 128;

// sums[a - begin][b] += sum over rows of x[r][a] x[r][b] for a in [begin, end).
void add_moments(Matrix x, int64_t begin, int64_t end, float* sums) {
  if (x.rows == 0) return;
  STEELYARD_CHECK(dnnl_sgemm('T', 'N', end - begin, x.cols, x.rows, 1.0f, x.data + begin, x.stride, x.data, x.stride,
                             1.0f, sums, x.cols) == dnnl_success);
}

}  // namespace

void CpuBackend::second_moments(Matrix x, float* sums) {
  parallel_for((x.cols + kPanel - 1) / kPanel, 1, [&](int64_t panel) {
    const int64_t begin = panel * kPanel, end = std::min(begin + kPanel, x.cols);
    add_moments(x, begin, end, sums + begin * x.cols);
  });
}

void CpuBackend::second_moments_experts(Matrix x, const Routing& routing, float* sums, int64_t* counts) {
  parallel_for(routing.n_expert, 1, [&](int64_t e) {
    const int64_t begin = routing.row_begin[e], n = routing.row_begin[e + 1] - begin;
    add_moments(x.slice(begin, n), 0, x.cols, sums + e * x.cols * x.cols);
    counts[e] += n;
  });
}

}  // namespace steelyard

// The scores of an indexer: keys are decoded some at a time, and queries go over them.
#include <algorithm>
#include <vector>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {

void CpuBackend::index_scores(Matrix q, Matrix weights, TypedRows k, Matrix scores) {
  const int64_t width = k.cols, n_head = weights.cols;
  STEELYARD_CHECK(q.cols == n_head * width && scores.rows == q.rows && scores.cols == k.rows);
  constexpr int64_t kKeys = 64;  // of a task
  parallel_for((k.rows + kKeys - 1) / kKeys, 1, [&](int64_t part) {
    const int64_t begin = part * kKeys, n = std::min(kKeys, k.rows - begin);
    std::vector<float> keys(static_cast<size_t>(n * width));
    for (int64_t s = 0; s < n; ++s)
      k.format->decode(k.row(begin + s), width / k.format->block_len, keys.data() + s * width);
    for (int64_t t = 0; t < q.rows; ++t) {
      float* const to = scores.row(t) + begin;
      std::fill_n(to, n, 0.0f);
      for (int64_t h = 0; h < n_head; ++h) {
        const float* const query = q.row(t) + h * width;
        const float weight = weights.row(t)[h];
        for (int64_t s = 0; s < n; ++s)
          to[s] += weight * std::max(kernels_.dot(query, keys.data() + s * width, width), 0.0f);
      }
    }
  });
}

}  // namespace steelyard::compute

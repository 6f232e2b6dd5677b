// The recurrence of Mamba 2: rows of the state over threads, each with target kernels.
#include <algorithm>
#include <cmath>
#include <vector>

#include "base/parallel.h"
#include "compute/cpu/cpu_backend.h"

namespace steelyard::compute {

// state: [n_head, head, n_state].
void CpuBackend::state_space(const StateSpaceArgs& args, float* state, Matrix out) {
  struct Step {
    float size, decay;
  };
  std::vector<Step> steps(static_cast<size_t>(out.rows * args.n_head));
  parallel_for(out.rows, 16, [&](int64_t t) {
    for (int64_t h = 0; h < args.n_head; ++h) {
      const float z = args.dt.row(t)[h] + args.dt_bias[h];
      const float size = std::max(z, 0.0f) + std::log1p(std::exp(-std::abs(z)));
      steps[static_cast<size_t>(t * args.n_head + h)] = {size, std::exp(size * args.decay[h])};
    }
  });
  const int64_t n = args.n_state, heads_of_group = args.n_head / args.n_group;
  parallel_for(args.n_head * args.head, 4, [&](int64_t row) {
    const int64_t h = row / args.head, group = h / heads_of_group;
    float* const s = state + row * n;
    for (int64_t t = 0; t < out.rows; ++t) {
      const auto [size, decay] = steps[static_cast<size_t>(t * args.n_head + h)];
      const float x = args.x.row(t)[row];
      kernels_.scale(s, n, decay);
      kernels_.add_scaled(args.b.row(t) + group * n, size * x, s, n);
      out.row(t)[row] = kernels_.dot(s, args.c.row(t) + group * n, n) + args.skip[h] * x;
    }
  });
}

}  // namespace steelyard::compute

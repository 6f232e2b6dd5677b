#include "compute/cuda/ldlq_rounder.h"

#include <algorithm>

namespace steelyard::compute::cuda {

const float* LdlqRounder::uploaded(Workspace& workspace, const float* values, int64_t n) {
  auto* place = workspace.array<float>(static_cast<size_t>(n));
  device_.upload(place, values, static_cast<size_t>(n) * sizeof(float));
  return place;
}

void LdlqRounder::encode(const formats::Format& to, const EncodeKernel& kernel, const void* const (&books)[kBooks],
                         const formats::LdlqInputs& inputs, const float* x, int64_t n_rows, std::byte* out) {
  const int64_t n = inputs.n, n_blocks = n_rows * (n / to.block_len), vector_dim = to.encoder->vector_dim;
  LdlqArgs args{.inputs = inputs, .rows = uploaded(rows_, x, n_rows * n), .n_rows = n_rows};
  std::ranges::copy(books, args.books);
  args.inputs.factor = uploaded(factor_, inputs.factor, n * n);
  args.inputs.hessian = uploaded(hessian_, inputs.hessian, n * n);
  args.inputs.weights = uploaded(weights_, inputs.weights, n);
  args.inputs.vector_inverse = uploaded(inverse_, inputs.vector_inverse, n * vector_dim);
  args.errors = errors_.array<float>(static_cast<size_t>(n_rows * n));
  args.products = products_.array<float>(static_cast<size_t>(n_rows * formats::kPanelLen));
  args.scales = scales_.array<std::byte>(static_cast<size_t>(n_blocks) * kernel.scales_bytes);
  args.codes = codes_.array<uint32_t>(static_cast<size_t>(n_rows * n / vector_dim));
  args.energy = shrinkage_.array<double>(static_cast<size_t>(2 * n_rows));
  args.projection = args.energy + n_rows;
  const auto bytes = static_cast<size_t>(n_blocks * to.block_bytes);
  args.out = out_.array<std::byte>(bytes);

  const auto run = [&](cudaError_t error) { device_.check(error, "rounding with error feedback"); };
  const auto multiply = [&](const float* a, int64_t depth, const float* matrix) {
    const int64_t width = std::min<int64_t>(formats::kPanelLen, n - args.begin);
    run(multiply_panel(args, a, depth, matrix + args.begin * n, width, device_.stream()));
  };
  const auto each_panel = [&](const auto& body) {
    for (args.begin = 0; args.begin < n; args.begin += formats::kPanelLen) body();
  };
  each_panel([&] {
    multiply(args.errors, args.begin, args.inputs.factor);
    run(kernel.launch_ldlq(LdlqStep::kRound, args, device_.stream()));
  });
  for (int64_t pass = 0; pass < inputs.passes; ++pass) {
    each_panel([&] {
      multiply(args.errors, n, args.inputs.hessian);
      run(kernel.launch_ldlq(LdlqStep::kDescend, args, device_.stream()));
    });
  }
  each_panel([&] {
    multiply(args.rows, n, args.inputs.hessian);
    run(accumulate_shrinkage_of_panel(args, std::min<int64_t>(formats::kPanelLen, n - args.begin), device_.stream()));
  });
  run(kernel.launch_ldlq(LdlqStep::kFinish, args, device_.stream()));
  device_.download(out, args.out, bytes);
}

}  // namespace steelyard::compute::cuda

// Recurrent operations, and those of residual streams and of what is chosen of the past.
#include "compute/cuda/cuda_backend.h"
#include "compute/cuda/operations.h"

namespace steelyard::compute {

void CudaBackend::causal_conv(const ConvArgs& args, Matrix x, float* state, Matrix out) {
  device_.use();
  run(cuda::causal_conv(args, x, state, out, device_.stream()), "causal_conv");
}

void CudaBackend::delta_rule(const DeltaRuleArgs& args, float* state, Matrix out) {
  device_.use();
  run(cuda::delta_rule(args, state, out, device_.stream()), "delta_rule");
}

void CudaBackend::state_space(const StateSpaceArgs& args, float* state, Matrix out) {
  device_.use();
  run(cuda::state_space(args, state, out, device_.stream()), "state_space");
}

void CudaBackend::hyper_weights(const HyperArgs& args, Matrix m) {
  STEELYARD_CHECK(m.cols == args.n_streams || m.cols == args.n_streams * (args.n_streams + 2));
  device_.use();
  run(cuda::hyper_weights(args, m, device_.stream()), "hyper_weights");
}

void CudaBackend::mix_streams(Matrix x, Matrix weights, int64_t width, Matrix out, bool add) {
  STEELYARD_CHECK(x.cols % width == 0 && out.cols % width == 0 && weights.cols == x.cols / width * (out.cols / width));
  device_.use();
  run(cuda::mix_streams(x, weights, width, out, add, device_.stream()), "mix_streams");
}

void CudaBackend::similarity_gate(Matrix x, Matrix y, Matrix out) {
  device_.use();
  run(cuda::similarity_gate(x, y, out, device_.stream()), "similarity_gate");
}

void CudaBackend::softmax_pool(Matrix x, Matrix scores, int64_t n, Matrix out) {
  STEELYARD_CHECK(out.rows == x.rows / n && scores.rows == x.rows && scores.cols == x.cols && out.cols == x.cols);
  device_.use();
  run(cuda::softmax_pool(x, scores, n, out, device_.stream()), "softmax_pool");
}

void CudaBackend::index_scores(Matrix q, Matrix weights, TypedRows k, Matrix scores) {
  STEELYARD_CHECK(q.cols == weights.cols * k.cols && scores.rows == q.rows && scores.cols == k.rows);
  device_.use();
  check_cache_type(*k.format);
  run(cuda::index_scores(q, weights, k, scores, device_.stream()), "index_scores");
}

void CudaBackend::select(const SelectArgs& args, Matrix scores, Matrix visible) {
  device_.use();
  run(cuda::select(args, scores, visible, device_.stream()), "select");
}

}  // namespace steelyard::compute

// Launches of all operations except matrix products: one function per operation of compute/backend.h, where the
// operations are described. Pointers are in the device's memory. Each returns the result of the launch.
#pragma once

#include <cuda_runtime.h>

#include <span>

#include "compute/backend.h"

namespace steelyard::compute::cuda {

// ---- rows.cu
cudaError_t rms_norm(Matrix x, const float* weight, float eps, Matrix out, cudaStream_t stream);
cudaError_t add(Matrix x, Matrix y, cudaStream_t stream);
cudaError_t add_row(Matrix x, const float* row, cudaStream_t stream);
cudaError_t scale(Matrix x, float factor, cudaStream_t stream);
cudaError_t softcap(Matrix x, float cap, cudaStream_t stream);
cudaError_t gated(Activation activation, Matrix gate, Matrix up, cudaStream_t stream);
cudaError_t apply_gate(Gate kind, Matrix x, Matrix gate, cudaStream_t stream);
cudaError_t center(Matrix x, cudaStream_t stream);
cudaError_t softmax(Matrix x, cudaStream_t stream);
cudaError_t rope(Matrix x, const RopeArgs& args, cudaStream_t stream);

// ---- cache.cu
/// Types of cached keys and values.
bool is_cache_type(formats::Type type);
cudaError_t store(Matrix from, TypedRows to, cudaStream_t stream);

// ---- attention.cu
inline constexpr int64_t kMaxHeadValue = 512;
/// Number of parts into which the keys are split for separate blocks; 1 where there are enough blocks without.
int64_t attention_splits(const AttentionArgs& args, int n_processors);
/// Floats that `partial` needs; 0 with one split.
int64_t attention_partial_size(const AttentionArgs& args, int64_t n_splits);
cudaError_t attention(const AttentionArgs& args, Matrix out, int64_t n_splits, float* partial, cudaStream_t stream);

// ---- delta_net.cu
cudaError_t causal_conv(const ConvArgs& args, Matrix x, float* state, Matrix out, cudaStream_t stream);
/// Bytes of shared memory that a block needs for heads of this width.
size_t delta_rule_shared(int64_t head);
cudaError_t delta_rule(const DeltaRuleArgs& args, float* state, Matrix out, cudaStream_t stream);

// ---- state_space.cu
cudaError_t state_space(const StateSpaceArgs& args, float* state, Matrix out, cudaStream_t stream);

// ---- streams.cu
cudaError_t hyper_weights(const HyperArgs& args, Matrix m, cudaStream_t stream);
cudaError_t mix_streams(Matrix x, Matrix weights, int64_t width, Matrix out, bool add, cudaStream_t stream);
cudaError_t similarity_gate(Matrix x, Matrix y, Matrix out, cudaStream_t stream);
cudaError_t softmax_pool(Matrix x, Matrix scores, int64_t n, Matrix out, cudaStream_t stream);

// ---- index.cu
cudaError_t index_scores(Matrix q, Matrix weights, const TypedRows& k, Matrix scores, cudaStream_t stream);
cudaError_t select(const SelectArgs& args, Matrix scores, Matrix visible, cudaStream_t stream);

// ---- experts.cu
size_t route_shared(int64_t n_expert);
cudaError_t route(Matrix logits, const RouteArgs& args, const Routing& routing, cudaStream_t stream);
cudaError_t add_row_experts(Matrix y, const float* rows, const Routing& routing, cudaStream_t stream);
cudaError_t gather(Matrix x, const Routing& routing, Matrix out, cudaStream_t stream);
cudaError_t combine(Matrix y, const Routing& routing, Matrix out, cudaStream_t stream);

// ---- moments.cu; row_begin and counts: null without experts
cudaError_t sum_squares(Matrix x, int64_t n_expert, const int32_t* row_begin, double* sums, int64_t* counts,
                        cudaStream_t stream);
cudaError_t second_moments(Matrix x, Matrix y, int64_t n_expert, const int32_t* row_begin, float* sums, int64_t* counts,
                           cudaStream_t stream);

// ---- backward_rows.cu
/// Parts in which rows are summed; `parts`: [row_parts(rows), cols], uninitialised.
int64_t row_parts(int64_t n_rows);
cudaError_t sum_rows(Matrix x, double* parts, float* sums, cudaStream_t stream);
cudaError_t row_sum_squares(Matrix x, float* sums, cudaStream_t stream);
/// factors: [rows], uninitialised.
cudaError_t rms_norm_backward(Matrix x, const float* weight, float eps, Matrix dout, Matrix dx, float* dweight,
                              float* factors, double* parts, cudaStream_t stream);
cudaError_t softcap_backward(Matrix out, float cap, Matrix d, cudaStream_t stream);
cudaError_t gated_backward(Activation activation, Matrix gate, Matrix up, Matrix d, Matrix dup, cudaStream_t stream);
cudaError_t apply_gate_backward(Gate kind, Matrix x, Matrix gate, Matrix d, Matrix dgate, cudaStream_t stream);

// ---- backward_experts.cu
cudaError_t gather_backward(Matrix drows, const Routing& routing, Matrix dx, cudaStream_t stream);
cudaError_t combine_backward(Matrix y, const Routing& routing, Matrix dout, Matrix dy, float* dweight,
                             cudaStream_t stream);
cudaError_t sum_rows_experts(Matrix x, const Routing& routing, float* sums, cudaStream_t stream);
cudaError_t route_backward(Matrix logits, const RouteArgs& args, const Routing& routing, const float* dweight,
                           Matrix dlogits, cudaStream_t stream);

// ---- loss.cu
/// named: [rows, target.n].
cudaError_t divergence(Matrix logits, const TargetRows& target, float* named, float* loss, cudaStream_t stream);
cudaError_t adam(const AdamArgs& args, int64_t n, const float* gradients, float* m, float* v, float* values,
                 cudaStream_t stream);

}  // namespace steelyard::compute::cuda

// Hyper-connections of low rank (Qwen 4). A branch reads the mean of the normed streams, each value gated by a product
// of low rank. What it gives is added to every stream with a gate of its own.
#include "model/residual.h"

namespace steelyard::model {
namespace {

void apply_silu(Matrix x, ForwardContext& ctx) {
  const Matrix gate = ctx.scratch.matrix(x.rows, x.cols);
  ctx.backend.copy(x, gate);
  ctx.backend.apply_gate(compute::Gate::kSigmoid, x, gate);
}

}  // namespace

BranchInput read_low_rank(const StreamsConfig& streams, const StreamsWeights& w, Matrix hidden, ForwardContext& ctx) {
  const auto part = 1.0f / static_cast<float>(streams.n);
  const Matrix x = normed_runs(w.norm, streams.all(hidden), streams.n_embd, ctx);
  Products products(ctx);
  const Matrix low = products.add(w.down, x), gates = w.inject.empty() ? Matrix{} : products.add(w.inject, x);
  products.run();
  ctx.backend.scale(low, part);
  apply_silu(low, ctx);
  const Matrix of_values = linear(w.up, low, ctx);
  if (gates.data != nullptr) ctx.backend.scale(gates, part);
  const Matrix gated = ctx.scratch.matrix(x.rows, x.cols);  // observers may still need x
  ctx.backend.copy(x, gated);
  ctx.backend.apply_gate(compute::Gate::kSigmoid, gated, of_values);
  const Matrix mean = ctx.scratch.matrix(x.rows, streams.n_embd);
  ctx.backend.copy(streams.stream(gated, 0), mean);
  for (int64_t i = 1; i < streams.n; ++i) ctx.backend.add(mean, streams.stream(gated, i));
  ctx.backend.scale(mean, part);
  return {mean, gates};
}

void add_low_rank(const StreamsConfig& streams, Matrix gates, Matrix y, Matrix hidden, ForwardContext& ctx) {
  const Matrix part = ctx.scratch.matrix(y.rows, y.cols);
  for (int64_t i = 0; i < streams.n; ++i) {
    ctx.backend.copy(y, part);
    ctx.backend.apply_gate(compute::Gate::kSigmoid, part, gates.columns(i, 1));
    ctx.backend.scale(part, 2);
    ctx.backend.add(streams.stream(hidden, i), part);
  }
}

}  // namespace steelyard::model

// The feed-forward part of a layer: dense SwiGLU, or routed experts with a shared one beside them.
#include "model/forward.h"

namespace steelyard {
namespace {

Matrix swiglu(const FfnWeights& w, Matrix f, Pass& pass) {
  const Matrix gate = linear(w.gate, f, pass);
  const Matrix up = linear(w.up, f, pass);
  pass.backend.swiglu(gate, up);
  return linear(w.down, gate, pass);
}

Matrix expert_linear(const Weight& weight, Matrix x, const Routing& routing, Pass& pass) {
  if (pass.observer != nullptr) pass.observer->experts(pass.backend, weight, x, routing);
  const Matrix out = pass.scratch.matrix(x.rows, weight.n_out);
  pass.backend.mul_mat_experts(weight, x, routing, out);
  return out;
}

Routing route(const FfnConfig& config, const FfnWeights& w, Matrix f, Pass& pass) {
  Routing routing{f.rows, config.n_used, config.n_expert};
  routing.expert = pass.scratch.array<int32_t>(routing.n_slots());
  routing.weight = pass.scratch.array<float>(routing.n_slots());
  routing.row = pass.scratch.array<int32_t>(routing.n_slots());
  routing.token = pass.scratch.array<int32_t>(routing.n_slots());
  routing.row_begin = pass.scratch.array<int32_t>(config.n_expert + 1);
  const Matrix logits = linear(w.router, f, pass);
  pass.backend.route(logits,
                     {config.gating, w.router_bias.data, config.n_used, config.n_group, config.n_group_used,
                      config.normalize, config.scale},
                     routing);
  if (pass.observer != nullptr) pass.observer->routed(pass.backend, w.router, routing);
  return routing;
}

Matrix experts(const FfnConfig& config, const FfnWeights& w, Matrix f, Pass& pass) {
  const Routing routing = route(config, w, f, pass);
  const Matrix x = pass.scratch.matrix(routing.n_slots(), f.cols);
  pass.backend.gather(f, routing, x);
  const Matrix gate = expert_linear(w.gate_exps, x, routing, pass);
  const Matrix up = expert_linear(w.up_exps, x, routing, pass);
  pass.backend.swiglu(gate, up);
  const Matrix down = expert_linear(w.down_exps, gate, routing, pass);
  const Matrix out = pass.scratch.matrix(f.rows, f.cols);
  pass.backend.combine(down, routing, out);
  return out;
}

}  // namespace

Matrix ffn(const Layer& layer, Matrix f, Pass& pass) {
  const FfnConfig& config = layer.config.ffn;
  const FfnWeights& w = layer.weights.ffn;
  if (config.n_expert == 0) return swiglu(w, f, pass);
  const Matrix out = experts(config, w, f, pass);
  if (config.n_ff_shared > 0) pass.backend.add(out, swiglu(w, f, pass));
  return out;
}

}  // namespace steelyard

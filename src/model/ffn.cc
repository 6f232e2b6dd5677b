// The feed-forward part of a layer: a dense gated FFN, or routed experts with a shared one beside them.
#include <utility>

#include "model/forward.h"

namespace steelyard {
namespace {

Matrix dense(const FfnConfig& config, const FfnWeights& w, Matrix f, Pass& pass) {
  const auto [gate, up] = linears<2>({&w.gate, &w.up}, f, pass, {&w.gate_bias, &w.up_bias});
  pass.backend.gated(config.activation, gate, up);
  return linear(w.down, gate, pass, w.down_bias);
}

void add_expert_bias(const Vector& bias, Matrix y, const Routing& routing, Pass& pass) {
  if (bias.data != nullptr) pass.backend.add_row_experts(y, bias.data, routing);
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
  const Matrix logits = linear(w.router, f, pass, w.router_bias);
  pass.backend.route(logits,
                     {config.gating, w.selection_bias.data, config.n_used, config.n_group, config.n_group_used,
                      config.normalize, config.scale},
                     routing);
  if (pass.observer != nullptr) pass.observer->routed(pass.backend, w.router, routing);
  return routing;
}

// The two halves of the experts' gated FFN, from one fused tensor or two; x: [n_slots, n_embd].
std::pair<Matrix, Matrix> expert_gate_up(const FfnWeights& w, Matrix x, const Routing& routing, Pass& pass) {
  std::pair<Matrix, Matrix> halves;
  if (w.gate_up_exps.empty()) {
    halves = {expert_linear(w.gate_exps, x, routing, pass), expert_linear(w.up_exps, x, routing, pass)};
  } else {
    const Matrix both = expert_linear(w.gate_up_exps, x, routing, pass);
    add_expert_bias(w.gate_up_exps_bias, both, routing, pass);
    halves = {both.columns(0, both.cols / 2), both.columns(both.cols / 2, both.cols / 2)};
  }
  add_expert_bias(w.gate_exps_bias, halves.first, routing, pass);
  add_expert_bias(w.up_exps_bias, halves.second, routing, pass);
  return halves;
}

Matrix experts(const FfnConfig& config, const FfnWeights& w, Matrix f, Pass& pass) {
  const Routing routing = route(config, w, f, pass);
  const Matrix x = pass.scratch.matrix(routing.n_slots(), f.cols);
  pass.backend.gather(f, routing, x);
  const auto [gate, up] = expert_gate_up(w, x, routing, pass);
  pass.backend.gated(config.activation, gate, up);
  const Matrix down = expert_linear(w.down_exps, gate, routing, pass);
  add_expert_bias(w.down_exps_bias, down, routing, pass);
  const Matrix out = pass.scratch.matrix(f.rows, f.cols);
  pass.backend.combine(down, routing, out);
  return out;
}

}  // namespace

Matrix ffn(const Layer& layer, Matrix f, Pass& pass) {
  const FfnConfig& config = layer.config.ffn;
  const FfnWeights& w = layer.weights.ffn;
  if (config.n_expert == 0) return dense(config, w, f, pass);
  const Matrix out = experts(config, w, f, pass);
  if (config.n_ff_shared > 0) {
    const Matrix shared = dense(config, w, f, pass);
    if (config.shared_gate) pass.backend.sigmoid_gate(shared, linear(w.shared_gate, f, pass));
    pass.backend.add(out, shared);
  }
  return out;
}

}  // namespace steelyard

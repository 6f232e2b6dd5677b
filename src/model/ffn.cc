// The feed-forward part of a layer: a dense gated FFN, or routed experts with a shared one, whose products run
// together.
#include "model/forward.h"

namespace steelyard {
namespace {

// The two inputs of a gated FFN's activation; valid after the products have run.
struct Halves {
  Matrix gate, up;
};

Halves add_halves(const FfnWeights& w, Matrix f, Products& products) {
  return {products.add(w.gate, f), products.add(w.up, f)};
}

void activate(const FfnConfig& config, const FfnWeights& w, const Halves& halves, Pass& pass) {
  add_bias(halves.gate, w.gate_bias, pass);
  add_bias(halves.up, w.up_bias, pass);
  pass.backend.gated(config.activation, halves.gate, halves.up);
}

Matrix dense(const FfnConfig& config, const FfnWeights& w, Matrix f, Pass& pass) {
  Products products(pass);
  const Halves halves = add_halves(w, f, products);
  products.run();
  activate(config, w, halves, pass);
  return linear(w.down, halves.gate, pass, w.down_bias);
}

// The same of every expert; x: [n_slots, n_embd]. From one fused tensor or two.
Halves add_expert_halves(const FfnWeights& w, Matrix x, const Routing& routing, Products& products) {
  if (w.gate_up_exps.empty()) return {products.add(w.gate_exps, x, &routing), products.add(w.up_exps, x, &routing)};
  const Matrix both = products.add(w.gate_up_exps, x, &routing);
  return {both.columns(0, both.cols / 2), both.columns(both.cols / 2, both.cols / 2)};
}

void add_expert_bias(Matrix y, const Vector& bias, const Routing& routing, Pass& pass) {
  if (bias.data != nullptr) pass.backend.add_row_experts(y, bias.data, routing);
}

void activate_experts(const FfnConfig& config, const FfnWeights& w, const Halves& halves, const Routing& routing,
                      Pass& pass) {
  if (w.gate_up_exps_bias.data != nullptr) {
    const Matrix both{halves.gate.data, halves.gate.rows, 2 * halves.gate.cols, halves.gate.stride};
    add_expert_bias(both, w.gate_up_exps_bias, routing, pass);
  }
  add_expert_bias(halves.gate, w.gate_exps_bias, routing, pass);
  add_expert_bias(halves.up, w.up_exps_bias, routing, pass);
  pass.backend.gated(config.activation, halves.gate, halves.up);
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

Matrix mixture(const FfnConfig& config, const FfnWeights& w, Matrix f, Pass& pass) {
  const bool shared = config.n_ff_shared > 0;
  const Routing routing = route(config, w, f, pass);
  const Matrix x = pass.scratch.matrix(routing.n_slots(), f.cols);
  pass.backend.gather(f, routing, x);

  Products inputs(pass);
  const Halves routed = add_expert_halves(w, x, routing, inputs);
  const Halves common = shared ? add_halves(w, f, inputs) : Halves{};
  const Matrix share = shared && config.shared_gate ? inputs.add(w.shared_gate, f) : Matrix{};
  inputs.run();
  activate_experts(config, w, routed, routing, pass);
  if (shared) activate(config, w, common, pass);

  Products outputs(pass);
  const Matrix down = outputs.add(w.down_exps, routed.gate, &routing);
  const Matrix beside = shared ? outputs.add(w.down, common.gate) : Matrix{};
  outputs.run();
  add_expert_bias(down, w.down_exps_bias, routing, pass);
  const Matrix out = pass.scratch.matrix(f.rows, f.cols);
  pass.backend.combine(down, routing, out);
  if (shared) {
    add_bias(beside, w.down_bias, pass);
    if (config.shared_gate) pass.backend.sigmoid_gate(beside, share);
    pass.backend.add(out, beside);
  }
  return out;
}

}  // namespace

Matrix ffn(const Layer& layer, Matrix f, Pass& pass) {
  const FfnConfig& config = layer.config.ffn;
  return config.n_expert == 0 ? dense(config, layer.weights.ffn, f, pass) : mixture(config, layer.weights.ffn, f, pass);
}

}  // namespace steelyard

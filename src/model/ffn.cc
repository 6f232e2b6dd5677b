// The feed-forward part of a layer: a dense gated FFN, or routed experts with a shared one, whose products run
// together.
#include "model/forward.h"

namespace steelyard::model {
namespace {

// The two inputs of a gated FFN's activation; valid after the products have run. Without a gate both are the one input.
struct GateUp {
  Matrix gate, up;
};

GateUp halves(Matrix both) { return {both.columns(0, both.cols / 2), both.columns(both.cols / 2, both.cols / 2)}; }

GateUp add_gate_up(const FfnWeights& w, Matrix f, Products& products) {
  if (!w.gate_up.empty()) return halves(products.add(w.gate_up, f));
  const Matrix gate = w.gate.empty() ? Matrix{} : products.add(w.gate, f), up = products.add(w.up, f);
  return {w.gate.empty() ? up : gate, up};
}

void activate(const compute::Activation& activation, const FfnWeights& w, const GateUp& gate_up, ForwardContext& ctx) {
  add_bias(gate_up.gate, w.gate_bias, ctx);
  add_bias(gate_up.up, w.up_bias, ctx);
  ctx.backend.gated(activation, gate_up.gate, gate_up.up);
}

Matrix dense(const FfnConfig& config, const FfnWeights& w, Matrix f, ForwardContext& ctx) {
  Products products(ctx);
  const GateUp gate_up = add_gate_up(w, f, products);
  products.run();
  activate(config.activation, w, gate_up, ctx);
  return linear(w.down, gate_up.gate, ctx, w.down_bias);
}

// The same of every expert; x: [n_slots, n_embd]. From one fused tensor or two.
GateUp add_expert_gate_up(const FfnWeights& w, Matrix x, const Routing& routing, Products& products) {
  if (!w.gate_up_exps.empty()) return halves(products.add(w.gate_up_exps, x, &routing));
  const Matrix gate = w.gate_exps.empty() ? Matrix{} : products.add(w.gate_exps, x, &routing);
  const Matrix up = products.add(w.up_exps, x, &routing);
  return {w.gate_exps.empty() ? up : gate, up};
}

void add_expert_bias(Matrix y, const Vector& bias, const Routing& routing, ForwardContext& ctx) {
  if (bias.data != nullptr) ctx.backend.add_row_experts(y, bias.data, routing);
}

void activate_experts(const FfnConfig& config, const FfnWeights& w, const GateUp& gate_up, const Routing& routing,
                      ForwardContext& ctx) {
  if (w.gate_up_exps_bias.data != nullptr) {
    const Matrix both{gate_up.gate.data, gate_up.gate.rows, 2 * gate_up.gate.cols, gate_up.gate.stride};
    add_expert_bias(both, w.gate_up_exps_bias, routing, ctx);
  }
  add_expert_bias(gate_up.gate, w.gate_exps_bias, routing, ctx);
  add_expert_bias(gate_up.up, w.up_exps_bias, routing, ctx);
  ctx.backend.gated(config.activation, gate_up.gate, gate_up.up);
}

// The experts that the table gives each token, in scratch memory; null where there is no table.
const int32_t* chosen_experts(const FfnConfig& config, const FfnWeights& w, std::span<const int32_t> ids,
                              ForwardContext& ctx) {
  if (!config.by_token) return nullptr;
  const auto n = static_cast<size_t>(config.n_used);
  std::vector<int32_t> experts;
  for (const int32_t id : ids) {
    const auto row = std::span(w.experts_of_token).subspan(static_cast<size_t>(id) * n, n);
    experts.insert(experts.end(), row.begin(), row.end());
  }
  auto* const chosen = ctx.scratch.array<int32_t>(std::ssize(experts));
  ctx.backend.upload(chosen, experts.data(), experts.size() * sizeof(int32_t));
  return chosen;
}

Routing route(const FfnConfig& config, const FfnWeights& w, Matrix f, std::span<const int32_t> ids,
              ForwardContext& ctx) {
  Routing routing{f.rows, config.n_used, config.n_expert};
  routing.expert = ctx.scratch.array<int32_t>(routing.n_slots());
  routing.weight = ctx.scratch.array<float>(routing.n_slots());
  routing.row = ctx.scratch.array<int32_t>(routing.n_slots());
  routing.token = ctx.scratch.array<int32_t>(routing.n_slots());
  routing.row_begin = ctx.scratch.array<int32_t>(config.n_expert + 1);
  const Matrix logits = linear(w.router, f, ctx, w.router_bias);
  ctx.backend.route(logits,
                    {config.gating, w.selection_bias.data, config.n_used, config.n_group, config.n_group_used,
                     config.normalize, config.scale, chosen_experts(config, w, ids, ctx)},
                    routing);
  if (ctx.observer != nullptr) ctx.observer->routed(ctx.backend, w.router, routing);
  return routing;
}

// What experts give, row by row, times their scales.
void scale_experts(Matrix y, const Vector& scale, const Routing& routing, ForwardContext& ctx) {
  if (scale.data == nullptr) return;
  const Matrix factors = ctx.scratch.matrix(y.rows, y.cols);
  ctx.backend.zero(factors.data, static_cast<size_t>(y.rows * y.cols) * sizeof(float));
  ctx.backend.add_row_experts(factors, scale.data, routing);
  ctx.backend.gated(compute::Activation::kProduct, y, factors);
}

// What the router, the routed experts, and the shared expert read.
struct MixtureInputs {
  Matrix router, experts, shared;
};

Matrix mixture(const FfnConfig& config, const FfnWeights& w, const MixtureInputs& from, std::span<const int32_t> ids,
               ForwardContext& ctx) {
  const bool shared = config.n_ff_shared > 0;
  const Matrix f = from.shared;
  const Routing routing = route(config, w, from.router, ids, ctx);
  const Matrix in = w.latent_down.empty() ? from.experts : linear(w.latent_down, from.experts, ctx);
  const Matrix x = ctx.scratch.matrix(routing.n_slots(), in.cols);
  ctx.backend.gather(in, routing, x);

  Products inputs(ctx);
  const GateUp routed = add_expert_gate_up(w, x, routing, inputs);
  const GateUp common = shared ? add_gate_up(w, f, inputs) : GateUp{};
  const Matrix share = shared && config.shared_gate ? inputs.add(w.shared_gate, f) : Matrix{};
  inputs.run();
  activate_experts(config, w, routed, routing, ctx);
  if (shared) activate(config.shared_activation.value_or(config.activation), w, common, ctx);

  Products outputs(ctx);
  const Matrix down = outputs.add(w.down_exps, routed.gate, &routing);
  const Matrix beside = shared ? outputs.add(w.down, common.gate) : Matrix{};
  outputs.run();
  add_expert_bias(down, w.down_exps_bias, routing, ctx);
  scale_experts(down, w.down_exps_scale, routing, ctx);
  Matrix out = ctx.scratch.matrix(f.rows, in.cols);
  ctx.backend.combine(down, routing, out);
  if (w.latent_norm.data != nullptr) ctx.backend.rms_norm(out, w.latent_norm.data, ctx.norm_eps, out);
  if (!w.latent_up.empty()) out = linear(w.latent_up, out, ctx);
  if (w.experts_out_norm.data != nullptr) out = normed(w.experts_out_norm, out, ctx);
  if (shared) {
    add_bias(beside, w.down_bias, ctx);
    if (w.shared_out_norm.data != nullptr) ctx.backend.rms_norm(beside, w.shared_out_norm.data, ctx.norm_eps, beside);
    if (config.shared_gate) ctx.backend.apply_gate(compute::Gate::kSigmoid, beside, share);
    ctx.backend.add(out, beside);
  }
  return out;
}

}  // namespace

Matrix ffn(const Layer& layer, Matrix f, std::span<const int32_t> ids, ForwardContext& ctx) {
  const FfnConfig& config = layer.config.ffn;
  const FfnWeights& w = layer.weights.ffn;
  return config.n_expert == 0 ? dense(config, w, f, ctx) : mixture(config, w, {f, f, f}, ids, ctx);
}

Matrix ffn_with_own_norms(const Layer& layer, Matrix x, ForwardContext& ctx) {
  const FfnWeights& w = layer.weights.ffn;
  return mixture(layer.config.ffn, w,
                 {normed(w.router_norm, x, ctx), normed(w.experts_norm, x, ctx), normed(w.norm, x, ctx)}, {}, ctx);
}

}  // namespace steelyard::model

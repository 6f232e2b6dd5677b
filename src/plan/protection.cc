#include "plan/protection.h"

namespace steelyard::plan {
namespace {

struct ProtectedName {
  std::string_view part;  // anywhere in the name
  std::string_view reason;
};

// llama.cpp never quantizes these names either (src/llama-quant.cpp): its loaders and operators rely on that.
constexpr ProtectedName kProtectedNames[] = {
    {"_norm.weight", "norm"},
    {"ffn_gate_inp.weight", "router"},
    {"ffn_gate_tid2eid.weight", "router"},
    {"indexer.k_proj.weight", "indexer"},
    {"indexer.q_proj.weight", "indexer"},
    {"ssm_conv1d", "convolution"},
    {"shortconv.conv.weight", "convolution"},
    {"position_embd", "positions"},
    {".rel_pos", "positions"},
    {"attn_rel_b.weight", "positions"},
    {"token_types.weight", "token types"},
    {".patch_embd", "image patches"},
    {".patch_merger", "image patches"},
    {"altup", "small"},
    {"laurel", "small"},
    {"per_layer_model_proj", "small"},
    {"time_mix_first.weight", "small"},
    {"time_mix_w0.weight", "small"},
    {"time_mix_w1.weight", "small"},
    {"time_mix_w2.weight", "small"},
    {"time_mix_v0.weight", "small"},
    {"time_mix_v1.weight", "small"},
    {"time_mix_v2.weight", "small"},
    {"time_mix_a0.weight", "small"},
    {"time_mix_a1.weight", "small"},
    {"time_mix_a2.weight", "small"},
    {"time_mix_g1.weight", "small"},
    {"time_mix_g2.weight", "small"},
    {"time_mix_decay_w1.weight", "small"},
    {"time_mix_decay_w2.weight", "small"},
    {"time_mix_lerp_fused.weight", "small"},
};

// The weight that a matrix of an adapter belongs to: "blk.0.attn_q.weight.lora_a" is a factor of what is added to
// "blk.0.attn_q.weight". Other names stay.
std::string_view adapted_weight(std::string_view name) {
  for (const std::string_view factor : {".lora_a", ".lora_b"}) {
    if (name.ends_with(factor)) return name.substr(0, name.size() - factor.size());
  }
  return name;
}

}  // namespace

std::optional<std::string_view> protection(const gguf::TensorInfo& tensor) {
  if (tensor.n_elements() == 0) return "empty";
  const std::string_view name = adapted_weight(tensor.name);
  if (format(tensor.type).decode == nullptr) return "integers";
  if (!name.ends_with("weight")) return "not a weight";
  for (const ProtectedName& known : kProtectedNames) {
    if (name.find(known.part) != std::string_view::npos) return known.reason;
  }
  // [n] and [n, 1] are vectors; norms among them have been named above.
  if (tensor.n_rows() == 1) return "one row";
  return std::nullopt;
}

}  // namespace steelyard::plan

#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"

namespace steelyard {
namespace {

// Finds tensors by name and checks their shapes.
class Binder {
 public:
  Binder(const gguf::Reader& reader, Backend& backend, std::string prefix)
      : reader_(reader), backend_(backend), prefix_(std::move(prefix)) {}

  bool has(const std::string& name) const { return reader_.find(prefix_ + name) != nullptr; }

  Weight weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    const gguf::TensorInfo& tensor = find(name, {n_in, n_out, n_slices, 1});
    const Format& type = format(tensor.type);
    if (type.decode == nullptr) fail(reader_.path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
    Weight host{tensor.name, &type, n_in, n_out, n_slices, reader_.bytes(tensor).data()};
    return backend_.load(std::move(host));
  }

  Weight weight_if(bool wanted, const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    return wanted ? weight(name, n_in, n_out, n_slices) : Weight{};
  }

  std::vector<float> values(const std::string& name, int64_t n) const {
    const gguf::TensorInfo& tensor = find(name, {n, 1, 1, 1});
    const Format& type = format(tensor.type);
    if (type.decode == nullptr) fail(reader_.path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
    std::vector<float> out(static_cast<size_t>(n));
    type.decode(reader_.bytes(tensor).data(), n / type.block_len, out.data());
    return out;
  }

  Vector vector(const std::string& name, int64_t n) const {
    const std::vector<float> host = values(name, n);
    Vector out;
    out.memory = backend_.allocate(host.size() * sizeof(float));
    backend_.upload(out.memory.get(), host.data(), host.size() * sizeof(float));
    out.data = reinterpret_cast<const float*>(out.memory.get());
    return out;
  }

  Vector vector_if(bool wanted, const std::string& name, int64_t n) const {
    return wanted ? vector(name, n) : Vector{};
  }

 private:
  const gguf::TensorInfo& find(const std::string& name, const std::array<int64_t, gguf::kMaxDims>& ne) const {
    const gguf::TensorInfo* tensor = reader_.find(prefix_ + name);
    if (tensor == nullptr) fail(reader_.path(), "tensor {} is missing", prefix_ + name);
    if (tensor->ne != ne) {
      fail(reader_.path(), "tensor {} has shape {}, expected [{}, {}, {}]", tensor->name, gguf::shape_string(*tensor),
           ne[0], ne[1], ne[2]);
    }
    return *tensor;
  }

  const gguf::Reader& reader_;
  Backend& backend_;
  std::string prefix_;
};

AttentionWeights bind_attention(const Binder& binder, const AttentionConfig& config, int64_t n_embd) {
  AttentionWeights w;
  w.norm = binder.vector("attn_norm.weight", n_embd);
  const int64_t q_width = config.n_head * config.head_k;
  if (config.mixer == Mixer::kLatent) {
    const int64_t r = config.rope.n_dims, rank = config.kv_lora_rank, q_rank = config.q_lora_rank;
    w.q = binder.weight_if(q_rank == 0, "attn_q.weight", n_embd, q_width);
    w.q_a = binder.weight_if(q_rank > 0, "attn_q_a.weight", n_embd, q_rank);
    w.q_a_norm = binder.vector_if(q_rank > 0, "attn_q_a_norm.weight", q_rank);
    w.q_b = binder.weight_if(q_rank > 0, "attn_q_b.weight", q_rank, q_width);
    w.kv_a = binder.weight("attn_kv_a_mqa.weight", n_embd, rank + r);
    w.kv_a_norm = binder.vector("attn_kv_a_norm.weight", rank);
    w.k_b = binder.weight("attn_k_b.weight", config.n_nope(), rank, config.n_head);
    w.v_b = binder.weight("attn_v_b.weight", rank, config.head_v, config.n_head);
  } else {
    const int64_t k_width = config.n_head_kv * config.head_k, v_width = config.n_head_kv * config.head_v;
    w.q = binder.weight("attn_q.weight", n_embd, q_width);
    w.k = binder.weight("attn_k.weight", n_embd, k_width);
    w.v = binder.weight("attn_v.weight", n_embd, v_width);
    w.q_bias = binder.vector_if(binder.has("attn_q.bias"), "attn_q.bias", q_width);
    w.k_bias = binder.vector_if(binder.has("attn_k.bias"), "attn_k.bias", k_width);
    w.v_bias = binder.vector_if(binder.has("attn_v.bias"), "attn_v.bias", v_width);
  }
  w.output = binder.weight("attn_output.weight", config.n_head * config.head_v, n_embd);
  w.output_bias = binder.vector_if(binder.has("attn_output.bias"), "attn_output.bias", n_embd);
  return w;
}

FfnWeights bind_ffn(const Binder& binder, const FfnConfig& config, int64_t n_embd) {
  FfnWeights w;
  w.norm = binder.vector("ffn_norm.weight", n_embd);
  const bool experts = config.n_expert > 0;
  const std::string suffix = experts ? "_shexp.weight" : ".weight";
  const int64_t n_ff = experts ? config.n_ff_shared : config.n_ff;  // of the part that every token passes
  w.gate = binder.weight_if(n_ff > 0, "ffn_gate" + suffix, n_embd, n_ff);
  w.up = binder.weight_if(n_ff > 0, "ffn_up" + suffix, n_embd, n_ff);
  w.down = binder.weight_if(n_ff > 0, "ffn_down" + suffix, n_ff, n_embd);
  w.router = binder.weight_if(experts, "ffn_gate_inp.weight", n_embd, config.n_expert);
  w.router_bias = binder.vector_if(binder.has("exp_probs_b.bias"), "exp_probs_b.bias", config.n_expert);
  w.gate_exps = binder.weight_if(experts, "ffn_gate_exps.weight", n_embd, config.n_ff, config.n_expert);
  w.up_exps = binder.weight_if(experts, "ffn_up_exps.weight", n_embd, config.n_ff, config.n_expert);
  w.down_exps = binder.weight_if(experts, "ffn_down_exps.weight", config.n_ff, n_embd, config.n_expert);
  return w;
}

}  // namespace

TrunkWeights bind_trunk(const gguf::Reader& reader, const ModelConfig& config, Backend& backend) {
  const Binder binder(reader, backend, "");
  TrunkWeights w;
  w.token_embd = binder.weight("token_embd.weight", config.n_embd, config.n_vocab);
  w.output_norm = binder.vector("output_norm.weight", config.n_embd);
  w.output = binder.has("output.weight") ? binder.weight("output.weight", config.n_embd, config.n_vocab) : w.token_embd;
  if (binder.has("rope_freqs.weight")) {
    w.rope_freqs = binder.values("rope_freqs.weight", config.layers.front().attention.rope.n_dims / 2);
    for (const float factor : w.rope_freqs) {
      if (!(factor > 0) || !std::isfinite(factor)) fail(reader.path(), "rope_freqs.weight holds {}, expected > 0", factor);
    }
  }
  return w;
}

LayerWeights bind_layer(const gguf::Reader& reader, const ModelConfig& config, int layer, Backend& backend) {
  const Binder binder(reader, backend, fmt::format("blk.{}.", layer));
  const LayerConfig& description = config.layers.at(static_cast<size_t>(layer));
  return {bind_attention(binder, description.attention, config.n_embd),
          bind_ffn(binder, description.ffn, config.n_embd)};
}

}  // namespace steelyard

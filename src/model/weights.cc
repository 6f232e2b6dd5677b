#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace steelyard::model {
namespace {

// Finds tensors by name and checks their shapes. Optional tensors that are listed in `required` must exist.
class Binder {
 public:
  Binder(const gguf::Reader& reader, Backend& backend, std::string prefix, std::span<const std::string> required = {},
         LoadedTensors* loaded = nullptr)
      : reader_(reader), backend_(backend), prefix_(std::move(prefix)), required_(required), loaded_(loaded) {}

  bool has(const std::string& name) const { return reader_.find(prefix_ + name) != nullptr; }

  Weight weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    const gguf::TensorInfo& tensor = find(name, {n_in, n_out, n_slices, 1});
    const formats::Format& type = format(tensor.type);
    if (type.decode == nullptr)
      fail(reader_.path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
    const auto load = [&] {
      Weight weight = backend_.load({tensor.name, &type, n_in, n_out, n_slices, reader_.bytes(tensor).data()});
      if (loaded_ != nullptr && loaded_->writable && type.n_scales > 0 && weight.memory == nullptr) {
        weight.memory = backend_.allocate_copy(weight.data, tensor.n_bytes);
        weight.data = weight.memory.get();
      }
      return weight;
    };
    if (loaded_ == nullptr) return load();
    const auto there = loaded_->weights.find(tensor.name);
    return there != loaded_->weights.end() ? there->second
                                           : loaded_->weights.emplace(tensor.name, load()).first->second;
  }

  Weight weight_if(bool wanted, const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    return wanted ? weight(name, n_in, n_out, n_slices) : Weight{};
  }

  Weight optional_weight(const std::string& name, int64_t n_in, int64_t n_out, int64_t n_slices = 1) const {
    return weight_if(has(name), name, n_in, n_out, n_slices);
  }

  // [n, n_slices], decoded, in host memory.
  std::vector<float> values(const std::string& name, int64_t n, int64_t n_slices = 1) const {
    const gguf::TensorInfo& tensor = find(name, {n, n_slices, 1, 1});
    const formats::Format& type = format(tensor.type);
    if (type.decode == nullptr)
      fail(reader_.path(), "tensor {} has type {}, which holds no weights", tensor.name, type.name);
    std::vector<float> out(static_cast<size_t>(n * n_slices));
    type.decode(reader_.bytes(tensor).data(), n * n_slices / type.block_len, out.data());
    return out;
  }

  Vector vector(const std::string& name, int64_t n, int64_t n_slices = 1) const {
    if (loaded_ == nullptr) return uploaded(values(name, n, n_slices));
    const auto there = loaded_->vectors.find(prefix_ + name);
    if (there != loaded_->vectors.end()) return there->second;
    return loaded_->vectors.emplace(prefix_ + name, uploaded(values(name, n, n_slices))).first->second;
  }

  // [n_slices, n] of a tensor [n, n_slices].
  Vector transposed(const std::string& name, int64_t n, int64_t n_slices) const {
    const std::vector<float> rows = values(name, n, n_slices);
    std::vector<float> columns(rows.size());
    for (int64_t s = 0; s < n_slices; ++s) {
      for (int64_t i = 0; i < n; ++i)
        columns[static_cast<size_t>(i * n_slices + s)] = rows[static_cast<size_t>(s * n + i)];
    }
    return uploaded(columns);
  }

  Vector vector_if(bool wanted, const std::string& name, int64_t n) const {
    return wanted ? vector(name, n) : Vector{};
  }

  Vector optional(const std::string& name, int64_t n, int64_t n_slices = 1) const {
    const bool wanted = has(name) || std::ranges::find(required_, name) != required_.end();
    return wanted ? vector(name, n, n_slices) : Vector{};
  }

 private:
  Vector uploaded(const std::vector<float>& host) const {
    Vector out;
    out.memory = backend_.allocate_copy(host.data(), host.size() * sizeof(float));
    out.data = reinterpret_cast<const float*>(out.memory.get());
    out.n = static_cast<int64_t>(host.size());
    return out;
  }

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
  std::span<const std::string> required_;
  LoadedTensors* loaded_;
};

void bind_latent(const Binder& binder, const AttentionConfig& config, int64_t n_embd, AttentionWeights& w) {
  const int64_t rank = config.kv_lora_rank, q_rank = config.q_lora_rank, q_width = config.n_head * config.head_k;
  w.q = binder.weight_if(q_rank == 0, "attn_q.weight", n_embd, q_width);
  w.q_a = binder.weight_if(q_rank > 0, "attn_q_a.weight", n_embd, q_rank);
  w.q_a_norm = binder.vector_if(q_rank > 0, "attn_q_a_norm.weight", q_rank);
  w.q_b = binder.weight_if(q_rank > 0, "attn_q_b.weight", q_rank, q_width);
  w.kv_a = binder.weight("attn_kv_a_mqa.weight", n_embd, rank + config.rope.n_dims);
  w.kv_a_norm = binder.vector("attn_kv_a_norm.weight", rank);
  const int64_t expanded = config.n_head * (config.n_nope() + config.head_v);
  w.kv_b = binder.weight_if(config.expanded, "attn_kv_b.weight", rank, expanded);
  w.k_b = binder.weight_if(!config.expanded, "attn_k_b.weight", config.n_nope(), rank, config.n_head);
  w.v_b = binder.weight_if(!config.expanded, "attn_v_b.weight", rank, config.head_v, config.n_head);
}

void bind_heads(const Binder& binder, const AttentionConfig& config, int64_t n_embd, AttentionWeights& w) {
  const int64_t q_width = config.query_width();
  const int64_t k_width = config.n_head_kv * config.head_k, v_width = config.n_head_kv * config.head_v;
  w.qkv = binder.optional_weight("attn_qkv.weight", n_embd, q_width + k_width + v_width);
  w.qkv_bias = binder.optional("attn_qkv.bias", q_width + k_width + v_width);
  const bool apart = w.qkv.empty();
  w.q = binder.weight_if(apart, "attn_q.weight", n_embd, q_width);
  w.k = binder.weight_if(apart, "attn_k.weight", n_embd, k_width);
  w.v = binder.weight_if(apart, "attn_v.weight", n_embd, v_width);
  w.q_bias = binder.optional("attn_q.bias", q_width);
  w.k_bias = binder.optional("attn_k.bias", k_width);
  w.v_bias = binder.optional("attn_v.bias", v_width);
  w.q_norm = binder.optional("attn_q_norm.weight", config.whole_norm ? q_width : config.head_k);
  w.k_norm = binder.optional("attn_k_norm.weight", config.whole_norm ? k_width : config.head_k);
  w.sinks = binder.optional("attn_sinks.weight", config.n_head);
}

void bind_delta_net(const Binder& binder, const DeltaNetConfig& config, int64_t n_embd, DeltaNetWeights& w) {
  const int64_t n_head = config.n_head, v_width = config.value_width(), width = config.conv_width();
  const bool joined = !binder.has("attn_qkv.weight") && binder.has("ssm_in.weight");
  w.in = binder.weight_if(joined, "ssm_in.weight", n_embd, width + v_width);
  w.qkv = binder.weight_if(!joined, "attn_qkv.weight", n_embd, width);
  w.gate = binder.weight_if(!joined, "attn_gate.weight", n_embd, v_width);
  w.beta_alpha = binder.weight_if(!config.tiled, "ssm_ba.weight", n_embd, 2 * n_head);
  w.beta = binder.weight_if(config.tiled, "ssm_beta.weight", n_embd, n_head);
  w.alpha = binder.weight_if(config.tiled, "ssm_alpha.weight", n_embd, n_head);
  w.conv = binder.transposed("ssm_conv1d.weight", config.n_taps, width);
  w.dt = binder.vector("ssm_dt.bias", n_head);
  w.decay = binder.vector("ssm_a", n_head);
  w.norm = binder.vector("ssm_norm.weight", config.head);
  w.output = binder.weight("ssm_out.weight", v_width, n_embd);
}

AttentionWeights bind_attention(const Binder& binder, const LayerConfig& layer, int64_t n_embd) {
  const AttentionConfig& config = layer.attention;
  AttentionWeights w;
  w.norm = binder.vector("attn_norm.weight", n_embd);
  w.branch_norm = binder.vector_if(layer.branch_norms, "post_attention_norm.weight", n_embd);
  if (config.mixer == Mixer::kDeltaNet) {
    bind_delta_net(binder, config.delta_net, n_embd, w.delta_net);
    return w;
  }
  if (config.mixer == Mixer::kLatent)
    bind_latent(binder, config, n_embd, w);
  else
    bind_heads(binder, config, n_embd, w);
  w.output = binder.weight("attn_output.weight", config.n_head * config.head_v, n_embd);
  w.output_bias = binder.optional("attn_output.bias", n_embd);
  return w;
}

void bind_experts(const Binder& binder, const FfnConfig& config, int64_t n_embd, FfnWeights& w) {
  const int64_t n = config.n_expert, n_ff = config.n_ff;
  w.router = binder.weight("ffn_gate_inp.weight", n_embd, n);
  w.router_bias = binder.optional("ffn_gate_inp.bias", n);
  w.selection_bias = binder.optional("exp_probs_b.bias", n);
  w.gate_up_exps = binder.optional_weight("ffn_gate_up_exps.weight", n_embd, 2 * n_ff, n);
  w.gate_up_exps_bias = binder.optional("ffn_gate_up_exps.bias", 2 * n_ff, n);
  const bool apart = w.gate_up_exps.empty();
  w.gate_exps = binder.weight_if(apart, "ffn_gate_exps.weight", n_embd, n_ff, n);
  w.up_exps = binder.weight_if(apart, "ffn_up_exps.weight", n_embd, n_ff, n);
  w.gate_exps_bias = binder.optional("ffn_gate_exps.bias", n_ff, n);
  w.up_exps_bias = binder.optional("ffn_up_exps.bias", n_ff, n);
  w.down_exps = binder.weight("ffn_down_exps.weight", n_ff, n_embd, n);
  w.down_exps_bias = binder.optional("ffn_down_exps.bias", n_embd, n);
}

FfnWeights bind_ffn(const Binder& binder, const LayerConfig& layer, int64_t n_embd) {
  const FfnConfig& config = layer.ffn;
  FfnWeights w;
  w.norm = binder.vector(layer.ffn_norm + ".weight", n_embd);
  const bool experts = config.n_expert > 0;
  const std::string suffix = experts ? "_shexp" : "";
  const int64_t n_ff = experts ? config.n_ff_shared : config.n_ff;  // of the part that every token passes
  if (n_ff > 0) {
    w.shared_gate = binder.weight_if(config.shared_gate, "ffn_gate_inp_shexp.weight", n_embd, 1);
    w.gate = binder.weight("ffn_gate" + suffix + ".weight", n_embd, n_ff);
    w.up = binder.weight("ffn_up" + suffix + ".weight", n_embd, n_ff);
    w.down = binder.weight("ffn_down" + suffix + ".weight", n_ff, n_embd);
    w.gate_bias = binder.optional("ffn_gate" + suffix + ".bias", n_ff);
    w.up_bias = binder.optional("ffn_up" + suffix + ".bias", n_ff);
    w.down_bias = binder.optional("ffn_down" + suffix + ".bias", n_embd);
  }
  if (experts) bind_experts(binder, config, n_embd, w);
  w.branch_norm = binder.vector_if(layer.branch_norms, "post_ffw_norm.weight", n_embd);
  return w;
}

std::vector<float> rope_factors(const Binder& binder, const gguf::Reader& reader, const std::string& name, int64_t n) {
  std::vector<float> factors = binder.values(name, n);
  for (const float factor : factors) {
    if (!(factor > 0) || !std::isfinite(factor)) fail(reader.path(), "tensor {} holds {}, expected > 0", name, factor);
  }
  return factors;
}

}  // namespace

TrunkWeights bind_trunk(const gguf::Reader& reader, const ModelConfig& config, Backend& first, Backend& last,
                        LoadedTensors* loaded) {
  const Binder binder(reader, last, "", {}, loaded);
  TrunkWeights w;
  const bool replaceable = loaded != nullptr && loaded->embedding && &first == &last;
  w.token_embd = Binder(reader, first, "", {}, replaceable ? loaded : nullptr)
                     .weight("token_embd.weight", config.n_embd, config.n_vocab);
  w.output_norm = binder.vector("output_norm.weight", config.n_embd);
  const bool tied = !config.output_required && !binder.has("output.weight");
  const char* const output = tied ? "token_embd.weight" : "output.weight";
  w.output = tied && &first == &last ? w.token_embd : binder.weight(output, config.n_embd, config.n_vocab);
  w.output_bias = binder.optional("output.bias", config.n_vocab);
  const RopeConfig& rope = config.layers.front().attention.rope;
  if (rope.scaling == RopeScaling::kLongrope) {
    w.rope_short = rope_factors(binder, reader, "rope_factors_short.weight", rope.n_dims / 2);
    w.rope_long = rope_factors(binder, reader, "rope_factors_long.weight", rope.n_dims / 2);
  } else if (binder.has("rope_freqs.weight")) {
    w.rope_short = w.rope_long = rope_factors(binder, reader, "rope_freqs.weight", rope.n_dims / 2);
  }
  return w;
}

bool has_prediction(const gguf::Reader& reader, const ModelConfig& config, int i) {
  return reader.find(fmt::format("blk.{}.nextn.eh_proj.weight", config.layers.size() + static_cast<size_t>(i))) !=
         nullptr;
}

PredictionWeights bind_prediction(const gguf::Reader& reader, const ModelConfig& config, int i, Backend& backend) {
  const Binder binder(reader, backend, fmt::format("blk.{}.nextn.", config.layers.size() + static_cast<size_t>(i)));
  PredictionWeights w;
  w.eh_proj = binder.weight("eh_proj.weight", 2 * config.n_embd, config.n_embd);
  w.enorm = binder.vector("enorm.weight", config.n_embd);
  w.hnorm = binder.vector("hnorm.weight", config.n_embd);
  w.token_embd = binder.optional_weight("embed_tokens.weight", config.n_embd, config.n_vocab);
  w.output_norm = binder.optional("shared_head_norm.weight", config.n_embd);
  w.output = binder.optional_weight("shared_head_head.weight", config.n_embd, config.n_vocab);
  return w;
}

LayerWeights bind_layer(const gguf::Reader& reader, const ModelConfig& config, int layer, Backend& backend,
                        LoadedTensors* loaded) {
  const LayerConfig& description = config.block(static_cast<size_t>(layer));
  const Binder binder(reader, backend, fmt::format("blk.{}.", layer), description.required, loaded);
  return {bind_attention(binder, description, config.n_embd), bind_ffn(binder, description, config.n_embd)};
}

}  // namespace steelyard::model

// Golden GGUF models as the folders that they could have been made of: the inverse of what a folder does to a
// checkpoint.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "gguf/reader.h"
#include "huggingface/checkpoint_bytes.h"
#include "json/json.h"

namespace steelyard::test {

using Tensors = std::map<std::string, TestTensor>;

// Names in a checkpoint of those outside blocks, and of those in blocks without the block's prefix.
inline const std::map<std::string, std::string> kNames = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {"attn_norm.weight", "input_layernorm.weight"},
    {"ffn_norm.weight", "post_attention_layernorm.weight"},
    {"attn_q.weight", "self_attn.q_proj.weight"},
    {"attn_k.weight", "self_attn.k_proj.weight"},
    {"attn_v.weight", "self_attn.v_proj.weight"},
    {"attn_q_a.weight", "self_attn.q_a_proj.weight"},
    {"attn_q_a_norm.weight", "self_attn.q_a_layernorm.weight"},
    {"attn_q_b.weight", "self_attn.q_b_proj.weight"},
    {"attn_kv_a_mqa.weight", "self_attn.kv_a_proj_with_mqa.weight"},
    {"attn_kv_a_norm.weight", "self_attn.kv_a_layernorm.weight"},
    {"attn_output.weight", "self_attn.o_proj.weight"},
    {"ffn_gate.weight", "mlp.gate_proj.weight"},
    {"ffn_up.weight", "mlp.up_proj.weight"},
    {"ffn_down.weight", "mlp.down_proj.weight"},
    {"ffn_gate_inp.weight", "mlp.gate.weight"},
    {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
    {"ffn_gate_exps.weight", "gate_proj.weight"},
    {"ffn_up_exps.weight", "up_proj.weight"},
    {"ffn_down_exps.weight", "down_proj.weight"},
    {"ffn_gate_shexp.weight", "mlp.shared_experts.gate_proj.weight"},
    {"ffn_up_shexp.weight", "mlp.shared_experts.up_proj.weight"},
    {"ffn_down_shexp.weight", "mlp.shared_experts.down_proj.weight"}};

inline std::string prefix_of(const std::string& name) {  // "blk.3." of a block's tensor
  return name.starts_with("blk.") ? name.substr(0, name.find('.', 4) + 1) : "";
}

inline std::string layer_of(const std::string& name) { return "model.layers." + prefix_of(name).substr(4); }

inline TestTensor matrix(const float* values, int64_t n_rows, int64_t n_in) {
  return {"F32", {n_rows, n_in}, {reinterpret_cast<const char*>(values), static_cast<size_t>(n_rows * n_in) * 4}};
}

// The checkpoint of a model in F32. pairs: heads whose neighbours become halves.
inline Tensors checkpoint_of(const gguf::Reader& model, const std::map<std::string, int64_t>& pairs) {
  Tensors tensors;
  for (const gguf::TensorInfo& tensor : model.tensors()) {
    const std::string prefix = prefix_of(tensor.name), local = tensor.name.substr(prefix.size());
    const auto* values = reinterpret_cast<const float*>(model.bytes(tensor).data());
    const int64_t n_in = tensor.ne[0], n_out = tensor.ne[1], n_slices = tensor.ne[2];
    const std::string layer = prefix.empty() ? "" : layer_of(tensor.name);
    if (local == "attn_k_b.weight") {  // [nope, rank, head] and [rank, v, head] become [head, nope + v, rank]
      const gguf::TensorInfo& other = *model.find(prefix + "attn_v_b.weight");
      const auto* v = reinterpret_cast<const float*>(model.bytes(other).data());
      std::vector<float> rows;
      for (int64_t head = 0; head < n_slices; ++head) {
        for (int64_t i = 0; i < n_in; ++i) {
          for (int64_t r = 0; r < n_out; ++r) rows.push_back(values[(head * n_out + r) * n_in + i]);
        }
        const int64_t of_head = other.ne[1] * other.ne[0];
        rows.insert(rows.end(), v + head * of_head, v + (head + 1) * of_head);
      }
      tensors[layer + "self_attn.kv_b_proj.weight"] = matrix(rows.data(), std::ssize(rows) / n_out, n_out);
    } else if (local == "attn_v_b.weight") {
      continue;
    } else if (n_slices > 1) {
      for (int64_t expert = 0; expert < n_slices; ++expert) {
        tensors[layer + "mlp.experts." + std::to_string(expert) + "." + kNames.at(local)] =
            matrix(values + expert * n_out * n_in, n_out, n_in);
      }
    } else if (pairs.contains(local)) {
      const int64_t n_head = pairs.at(local), half = n_out / n_head / 2;
      std::vector<float> rows(static_cast<size_t>(n_out * n_in));
      for (int64_t row = 0; row < n_out; ++row) {
        const int64_t head = row / (2 * half), pair = row % (2 * half) / 2, side = row % 2;
        std::copy_n(values + row * n_in, n_in, rows.begin() + ((head * 2 + side) * half + pair) * n_in);
      }
      tensors[layer + kNames.at(local)] = matrix(rows.data(), n_out, n_in);
    } else {
      TestTensor& whole = tensors[layer + kNames.at(local)] = matrix(values, tensor.n_elements() / n_in, n_in);
      if (tensor.n_dims == 1) whole.shape = {n_in};
    }
  }
  return tensors;
}

constexpr const char* kDeepseek = R"({"architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 64,
  "num_hidden_layers": 3, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 4,
  "rms_norm_eps": 1e-5, "rope_theta": 1000000, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 20,
  "q_lora_rank": 40, "kv_lora_rank": 32, "first_k_dense_replace": 1, "n_routed_experts": 8, "num_experts_per_tok": 2,
  "n_shared_experts": 1, "moe_intermediate_size": 24, "scoring_func": "sigmoid", "routed_scaling_factor": 1.8,
  "norm_topk_prob": true, "vocab_size": 272, "max_position_embeddings": 256})";

/// tokenizer.json of a model with byte-level BPE whose pre-tokenizer is GPT-2's.
inline std::string tokenizer_of(const gguf::Metadata& metadata) {
  constexpr int64_t kNormal = 1;
  json::Json vocabulary = json::Json::object(), added = json::Json::array(), merges = json::Json::array();
  const auto tokens = metadata.strings("tokenizer.ggml.tokens");
  const auto types = metadata.integers("tokenizer.ggml.token_type");
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string token(tokens[i]);
    vocabulary[token] = i;
    if (types[i] != kNormal) added.push_back({{"id", i}, {"content", token}, {"special", true}});
  }
  for (const std::string_view merge : metadata.strings("tokenizer.ggml.merges")) merges.push_back(std::string(merge));
  const json::Json split = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return json::json_text({{"version", "1.0"},
                          {"added_tokens", added},
                          {"pre_tokenizer", split},
                          {"decoder", {{"type", "ByteLevel"}}},
                          {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", merges}}}});
}

/// tokenizer_config.json: the special tokens by their texts.
inline std::string tokenizer_config_of(const gguf::Metadata& metadata) {
  const auto token = [&](const std::string& name) {
    const auto id = static_cast<size_t>(metadata.integer("tokenizer.ggml." + name + "_token_id"));
    return std::string(metadata.strings("tokenizer.ggml.tokens")[id]);
  };
  return json::json_text({{"bos_token", token("bos")},
                          {"eos_token", token("eos")},
                          {"pad_token", token("padding")},
                          {"add_bos_token", true}});
}

/// The folder of models/deepseek2.
inline void put_deepseek(const std::string& folder) {
  const gguf::Reader model(golden("models/deepseek2/model.gguf"));
  put_file(folder + "/config.json", kDeepseek);
  put_file(folder + "/model.safetensors", safetensors(checkpoint_of(model, {})));
  put_file(folder + "/tokenizer.json", tokenizer_of(model.metadata()));
  put_file(folder + "/tokenizer_config.json", tokenizer_config_of(model.metadata()));
}

}  // namespace steelyard::test

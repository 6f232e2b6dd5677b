#include "huggingface/keys.h"

#include <filesystem>

#include "base/error.h"
#include "base/text_file.h"

namespace steelyard::huggingface {
namespace {

using json::Json;

// codes of expert_gating_func
constexpr int64_t kSoftmax = 1, kSigmoid = 2, kSqrtSoftplus = 4;

template <typename T>
std::string array_of(gguf::ValueType type, const std::vector<T>& values) {
  std::string raw;
  const auto put = [&](const auto& value) { raw.append(reinterpret_cast<const char*>(&value), sizeof value); };
  put(static_cast<uint32_t>(type));
  put(static_cast<uint64_t>(values.size()));
  for (const T value : values) put(value);
  return raw;
}

void add_scaling(const Config& config, Keys& keys) {
  const Json& rope = config.rope();
  const auto type = rope.find("rope_type");
  if (type == rope.end() || !type->is_string()) return;
  const std::string name = *type;
  const std::optional<double> factor = config.rope_real("factor");
  if (name == "linear" && factor) {
    keys.string("rope.scaling.type", "linear");
    keys.real("rope.scaling.factor", *factor);
  } else if (name == "yarn" && factor) {
    keys.string("rope.scaling.type", "yarn");
    keys.real("rope.scaling.factor", *factor);
    const auto original = config.rope_real("original_max_position_embeddings");
    if (!original) config.reject("rope_scaling", "has no original_max_position_embeddings");
    keys.integer("rope.scaling.original_context_length", static_cast<int64_t>(*original));
    keys.real("rope.scaling.yarn_ext_factor", config.rope_real("extrapolation_factor"));
    const auto attention = config.rope_real("attention_factor");
    keys.real("rope.scaling.yarn_attn_factor", attention ? attention : config.rope_real("attn_factor"));
    keys.real("rope.scaling.yarn_beta_fast", config.rope_real("beta_fast"));
    keys.real("rope.scaling.yarn_beta_slow", config.rope_real("beta_slow"));
  } else if (name == "su" || name == "longrope") {
    keys.string("rope.scaling.type", "longrope");
  } else if (name != "default" && name != "llama3" && name != "dynamic" && name != "mrope" && name != "proportional") {
    config.reject("rope_scaling", "is of type {}, expected linear, yarn, longrope or llama3", printable(name));
  }
}

void add_gating(const Config& config, Keys& keys) {
  const std::string name = config.string({"score_function", "scoring_func", "score_func", "moe_router_activation"}, "");
  if (name.empty()) return;
  const int64_t code = name == "softmax"        ? kSoftmax
                       : name == "sigmoid"      ? kSigmoid
                       : name == "sqrtsoftplus" ? kSqrtSoftplus
                                                : 0;
  if (code == 0) config.reject("scoring_func", "is {}, expected softmax, sigmoid or sqrtsoftplus", printable(name));
  keys.integer("expert_gating_func", code);
}

}  // namespace

void Keys::integer(std::string_view key, int64_t value) {
  metadata_.set_integer(prefix_ + std::string(key), static_cast<uint32_t>(value));
}
void Keys::integer(std::string_view key, std::optional<int64_t> value) {
  if (value) integer(key, *value);
}
void Keys::real(std::string_view key, double value) {
  metadata_.set_real(prefix_ + std::string(key), static_cast<float>(value));
}
void Keys::real(std::string_view key, std::optional<double> value) {
  if (value) real(key, *value);
}
void Keys::boolean(std::string_view key, bool value) { metadata_.set_boolean(prefix_ + std::string(key), value); }
void Keys::string(std::string_view key, std::string_view value) {
  metadata_.set_string(prefix_ + std::string(key), value);
}
void Keys::integers(std::string_view key, std::span<const int64_t> values) {
  const std::vector<int32_t> narrow(values.begin(), values.end());
  metadata_.set({prefix_ + std::string(key), gguf::ValueType::kArray, array_of(gguf::ValueType::kInt32, narrow)});
}
void Keys::booleans(std::string_view key, const std::vector<bool>& values) {
  std::vector<uint8_t> bytes(values.begin(), values.end());
  metadata_.set({prefix_ + std::string(key), gguf::ValueType::kArray, array_of(gguf::ValueType::kBool, bytes)});
}

void add_common_keys(const Config& config, Keys& keys) {
  keys.integer("block_count", keys.n_blocks());
  keys.integer("context_length", config.optional_integer({"max_position_embeddings", "n_ctx", "n_positions",
                                                          "max_length", "max_sequence_length", "model_max_length"}));
  keys.integer("embedding_length", config.optional_integer({"hidden_size", "n_embd", "dim"}));
  keys.integer("feed_forward_length",
               config.optional_integer({"prefix_dense_intermediate_size", "dense_intermediate_size",
                                        "intermediate_size", "n_inner", "hidden_dim"}));
  keys.integer("attention.head_count", config.optional_integer({"num_attention_heads", "n_head", "n_heads"}));
  keys.integer("attention.head_count_kv", config.optional_integer({"num_key_value_heads", "n_kv_heads"}));
  add_scaling(config, keys);
  keys.real("rope.freq_base", config.rope_real("rope_theta"));
  if (const auto theta = config.window_rope().find("rope_theta");
      config.window_rope().is_object() && theta != config.window_rope().end() && theta->is_number())
    keys.real("rope.freq_base_swa", theta->get<double>());
  keys.real("attention.layer_norm_rms_epsilon", config.optional_real({"rms_norm_eps", "norm_eps"}));
  keys.real("attention.layer_norm_epsilon",
            config.optional_real({"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"}));
  keys.integer("expert_count", config.optional_integer({"num_local_experts", "num_experts", "n_routed_experts"}));
  keys.integer("expert_used_count",
               config.optional_integer({"num_experts_per_tok", "num_experts_per_token", "top_k_experts"}));
  keys.integer("expert_group_count", config.optional_integer({"n_group"}));
  keys.integer("expert_group_used_count", config.optional_integer({"topk_group"}));
  add_gating(config, keys);
  if (const auto head = config.optional_integer({"head_dim"})) {
    keys.integer("attention.key_length", *head);
    keys.integer("attention.value_length", *head);
  }
}

void add_windows(const Config& config, Keys& keys, int64_t window, int64_t period) {
  keys.integer("attention.sliding_window", window);
  const std::vector<std::string> types = config.strings("layer_types");
  if (!types.empty() && std::ssize(types) != keys.n_layers())
    config.reject("layer_types", "has {} entries for {} layers", types.size(), keys.n_layers());
  std::vector<bool> windowed;
  for (int64_t i = 0; i < keys.n_layers(); ++i)
    windowed.push_back(types.empty() ? (i + 1) % period != 0 : types[static_cast<size_t>(i)] == "sliding_attention");
  keys.booleans("attention.sliding_window_pattern", windowed);
}

void add_sampling(const std::string& folder, gguf::Metadata& metadata) {
  const std::string path = (std::filesystem::path(folder) / "generation_config.json").string();
  if (!std::filesystem::is_regular_file(path)) return;
  const Json json = json::parse_json(read_text_file(path), 16);
  if (!json.is_object()) fail(path, "is no JSON object, or one of more than 1000 names");
  struct Row {
    std::string_view from, to;
    bool is_integer;
  };
  constexpr Row kRows[] = {{"top_k", "top_k", true},
                           {"top_p", "top_p", false},
                           {"min_p", "min_p", false},
                           {"temperature", "temp", false},
                           {"repetition_penalty", "penalty_repeat", false}};
  for (const Row& row : kRows) {
    const auto value = json.find(row.from);
    if (value == json.end() || !value->is_number()) continue;
    const double number = value->get<double>();
    const std::string key = "general.sampling." + std::string(row.to);
    if (!row.is_integer) {
      metadata.set_real(key, static_cast<float>(number));
    } else if (number >= 0 && number <= INT32_MAX) {
      const auto whole = static_cast<int32_t>(number);
      metadata.set({key, gguf::ValueType::kInt32, {reinterpret_cast<const char*>(&whole), sizeof whole}});
    }
  }
}

void add_partial_rope(const Config& config, Keys& keys, double share_absent) {
  const double share = config.rope_real("partial_rotary_factor").value_or(share_absent);
  if (!(share >= 0) || share > 1) config.reject("partial_rotary_factor", "is {}, expected 0 to 1", share);
  keys.integer("rope.dimension_count", static_cast<int64_t>(static_cast<double>(config.head_dim()) * share));
}

}  // namespace steelyard::huggingface

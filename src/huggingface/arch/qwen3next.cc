// Qwen3-Next and Qwen3.5: most layers have a gated delta rule in place of attention. Norms store what is added to 1,
// but for the one within the delta rule. Where more heads have values than keys, Qwen3.5 in GGUF has the heads of one
// key apart (all first ones, all second ones), and Qwen3-Next together.
#include <cmath>

#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClassesNext[] = {"Qwen3NextForCausalLM"};
constexpr std::string_view kClasses35[] = {"Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"};
constexpr std::string_view kClasses35Moe[] = {"Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"};

struct Heads {
  explicit Heads(const Config& config)
      : n_key(config.integer({"linear_num_key_heads"})),
        n_value(config.integer({"linear_num_value_heads"})),
        key(config.integer({"linear_key_head_dim"})),
        value(config.integer({"linear_value_head_dim"})) {
    if (n_key == 0 || n_value % n_key != 0)
      config.reject("linear_num_value_heads", "is {}, expected a multiple of linear_num_key_heads {}", n_value, n_key);
  }
  int64_t n_key, n_value, key, value;
};

// Heads of values along dimension i, those of one key apart.
View apart(const View& view, size_t i, const Heads& heads) {
  return view.split(i, {heads.n_key, heads.n_value / heads.n_key, -1}).swap(i, i + 1).merge(i, 3);
}

// Rows [q, k, v, z] of each key's heads become q of all, k of all, v of all, z of all.
View of_key(const View& view, const Config& config, int64_t begin, int64_t n) {
  return view.split(0, {Heads(config).n_key, -1}).slice(1, begin, n).merge(0, 2);
}
View qkvz_queries(const View& view, const Config& config) { return of_key(view, config, 0, Heads(config).key); }
View qkvz_keys(const View& view, const Config& config) {
  return of_key(view, config, Heads(config).key, Heads(config).key);
}
View qkvz_values(const View& view, const Config& config) {
  const Heads heads(config);
  return of_key(view, config, 2 * heads.key, heads.n_value / heads.n_key * heads.value);
}
View qkvz_gates(const View& view, const Config& config) {
  const Heads heads(config);
  const int64_t n = heads.n_value / heads.n_key * heads.value;
  return of_key(view, config, 2 * heads.key + n, n);
}

View queries_and_keys(const View& view, const Config& config) {
  const Heads heads(config);
  return view.squeeze().slice(0, 0, 2 * heads.n_key * heads.key);
}
View values_apart(const View& view, const Config& config) {
  const Heads heads(config);
  return apart(view.squeeze().slice(0, 2 * heads.n_key * heads.key, heads.n_value * heads.value), 0, heads);
}
View rows_apart(const View& view, const Config& config) { return apart(view, 0, Heads(config)); }
View columns_apart(const View& view, const Config& config) { return apart(view, 1, Heads(config)); }
View squeezed(const View& view, const Config&) { return view.squeeze(); }

float minus_exp(float x) { return -std::exp(x); }

constexpr TensorRule kBlock[] = {
    {"model.norm.weight", "output_norm.weight", nullptr, plus_one},
    {"model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight", nullptr, plus_one},
    {"model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", nullptr, plus_one},
    {"model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", nullptr, plus_one},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight", nullptr, plus_one},
    {"model.layers.{}.enorm.weight", "blk.{}.nextn.enorm.weight", nullptr, plus_one},
    {"model.layers.{}.hnorm.weight", "blk.{}.nextn.hnorm.weight", nullptr, plus_one},
    {"model.layers.{}.shared_head.norm.weight", "blk.{}.nextn.shared_head_norm.weight", nullptr, plus_one},
    {"model.layers.{}.linear_attn.norm.weight", "blk.{}.ssm_norm.weight"},
};

constexpr TensorRule kDeltaNext[] = {
    {"model.layers.{}.linear_attn.in_proj_qkvz.weight", "blk.{}.attn_qkv.weight", qkvz_queries},
    {"model.layers.{}.linear_attn.in_proj_qkvz.weight", "blk.{}.attn_qkv.weight", qkvz_keys},
    {"model.layers.{}.linear_attn.in_proj_qkvz.weight", "blk.{}.attn_qkv.weight", qkvz_values},
    {"model.layers.{}.linear_attn.in_proj_qkvz.weight", "blk.{}.attn_gate.weight", qkvz_gates},
    {"model.layers.{}.linear_attn.in_proj_ba.weight", "blk.{}.ssm_ba.weight"},
    {"model.layers.{}.linear_attn.A_log", "blk.{}.ssm_a", nullptr, minus_exp},
    {"model.layers.{}.linear_attn.dt_bias", "blk.{}.ssm_dt.bias"},
    {"model.layers.{}.linear_attn.conv1d.weight", "blk.{}.ssm_conv1d.weight", squeezed},
    {"model.layers.{}.linear_attn.out_proj.weight", "blk.{}.ssm_out.weight"},
};

constexpr TensorRule kDelta35[] = {
    {"model.layers.{}.linear_attn.in_proj_qkv.weight", "blk.{}.attn_qkv.weight", queries_and_keys},
    {"model.layers.{}.linear_attn.in_proj_qkv.weight", "blk.{}.attn_qkv.weight", values_apart},
    {"model.layers.{}.linear_attn.in_proj_z.weight", "blk.{}.attn_gate.weight", rows_apart},
    {"model.layers.{}.linear_attn.in_proj_a.weight", "blk.{}.ssm_alpha.weight", rows_apart},
    {"model.layers.{}.linear_attn.in_proj_b.weight", "blk.{}.ssm_beta.weight", rows_apart},
    {"model.layers.{}.linear_attn.A_log", "blk.{}.ssm_a", rows_apart, minus_exp},
    {"model.layers.{}.linear_attn.dt_bias", "blk.{}.ssm_dt.bias", rows_apart},
    {"model.layers.{}.linear_attn.conv1d.weight", "blk.{}.ssm_conv1d.weight", queries_and_keys},
    {"model.layers.{}.linear_attn.conv1d.weight", "blk.{}.ssm_conv1d.weight", values_apart},
    {"model.layers.{}.linear_attn.out_proj.weight", "blk.{}.ssm_out.weight", columns_apart},
};

void add_keys(const Config& config, Keys& keys) {
  const Heads heads(config);
  keys.integer("expert_feed_forward_length", config.optional_integer({"moe_intermediate_size"}));
  keys.integer("expert_shared_feed_forward_length", config.optional_integer({"shared_expert_intermediate_size"}));
  keys.integer("ssm.conv_kernel", config.integer({"linear_conv_kernel_dim"}));
  keys.integer("ssm.state_size", heads.key);
  keys.integer("ssm.group_count", heads.n_key);
  keys.integer("ssm.time_step_rank", heads.n_value);
  keys.integer("ssm.inner_size", heads.value * heads.n_value);
  if (const std::vector<std::string> types = config.strings("layer_types"); !types.empty()) {
    if (std::ssize(types) != keys.n_layers())
      config.reject("layer_types", "has {} entries for {} layers", types.size(), keys.n_layers());
    std::vector<bool> recurrent(static_cast<size_t>(keys.n_blocks()));
    for (size_t i = 0; i < types.size(); ++i) recurrent[i] = types[i] == "linear_attention";
    keys.booleans("attention.recurrent_layers", recurrent);
  }
  keys.integer("full_attention_interval", config.optional_integer({"full_attention_interval"}).value_or(4));
  add_partial_rope(config, keys, 0.25);
}

void add_keys_35(const Config& config, Keys& keys) {
  std::vector<int64_t> sections = {11, 11, 10};  // where nothing is said
  if (const auto given = config.rope().find("mrope_section"); given != config.rope().end() && given->is_array()) {
    sections.clear();
    for (const json::Json& n : *given) sections.push_back(n.is_number_integer() ? n.get<int32_t>() : 0);
  }
  sections.resize(4);
  keys.integers("rope.dimension_sections", sections);
  add_keys(config, keys);
}

Architecture of(std::string_view name, std::span<const std::string_view> classes, std::span<const TensorRule> delta,
                void (*add)(const Config&, Keys&)) {
  return {.name = name,
          .classes = classes,
          .rules = {kBlock, outer_rules(), attention_rules(), delta, dense_rules(), expert_rules(), prediction_rules()},
          .add_keys = add,
          .has_prediction = true};
}

}  // namespace

const Architecture& qwen3next() {
  static const Architecture kArchitecture = of("qwen3next", kClassesNext, kDeltaNext, add_keys);
  return kArchitecture;
}

const Architecture& qwen35() {
  static const Architecture kArchitecture = of("qwen35", kClasses35, kDelta35, add_keys_35);
  return kArchitecture;
}

const Architecture& qwen35moe() {
  static const Architecture kArchitecture = of("qwen35moe", kClasses35Moe, kDelta35, add_keys_35);
  return kArchitecture;
}

}  // namespace steelyard::huggingface

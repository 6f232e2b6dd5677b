// Gemma 4: layers with a window have narrower heads than those without; each layer has an embedding of its own; some
// take keys and values of an earlier one; experts stand beside the dense network.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"};

constexpr TensorRule kBlock[] = {
    {"model.embed_tokens_per_layer.weight", "per_layer_token_embd.weight"},
    {"model.per_layer_model_projection.weight", "per_layer_model_proj.weight"},
    {"model.per_layer_projection_norm.weight", "per_layer_proj_norm.weight"},
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight"},
    {"model.layers.{}.pre_feedforward_layernorm_2.weight", "blk.{}.pre_ffw_norm_2.weight"},
    {"model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"},
    {"model.layers.{}.post_feedforward_layernorm_1.weight", "blk.{}.post_ffw_norm_1.weight"},
    {"model.layers.{}.post_feedforward_layernorm_2.weight", "blk.{}.post_ffw_norm_2.weight"},
    {"model.layers.{}.per_layer_input_gate.weight", "blk.{}.inp_gate.weight"},
    {"model.layers.{}.per_layer_projection.weight", "blk.{}.proj.weight"},
    {"model.layers.{}.post_per_layer_input_norm.weight", "blk.{}.post_norm.weight"},
    {"model.layers.{}.layer_scalar", "blk.{}.layer_output_scale.weight"},
    {"model.layers.{}.router.proj.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.router.scale", "blk.{}.ffn_gate_inp.scale"},
    {"model.layers.{}.router.per_expert_scale", "blk.{}.ffn_down_exps.scale"},
    {"model.layers.{}.experts.gate_up_proj", "blk.{}.ffn_gate_up_exps.weight"},
    {"model.layers.{}.experts.down_proj", "blk.{}.ffn_down_exps.weight"},
};

std::vector<bool> windowed(const Config& config, const Keys& keys) {
  const std::vector<std::string> types = config.strings("layer_types");
  if (std::ssize(types) != keys.n_layers())
    config.reject("layer_types", "has {} entries for {} layers", types.size(), keys.n_layers());
  std::vector<bool> windowed;
  for (const std::string& type : types) windowed.push_back(type == "sliding_attention");
  return windowed;
}

// What layers without a window have instead of `key`: a key of its own, or, as newer files have it, that of such a
// layer in a table of those that differ.
std::optional<int64_t> of_full_layers(const Config& config, std::string_view own, std::string_view key) {
  if (const auto given = config.optional_integer({own})) return given;
  const json::Json* const layers = config.find({"per_layer_config"});
  if (layers == nullptr || !layers->is_object()) return std::nullopt;
  const std::vector<std::string> types = config.strings("layer_types");
  for (size_t i = 0; i < types.size(); ++i) {
    const auto layer = layers->find(std::to_string(i));
    if (types[i] != "full_attention" || layer == layers->end() || !layer->is_object()) continue;
    const auto value = layer->find(key);
    if (value == layer->end()) continue;
    if (!value->is_number_integer() || value->get<int64_t>() < 1 || value->get<int64_t>() > INT32_MAX)
      config.reject("per_layer_config", "has {} as {} of layer {}", printable(json::json_text(*value)), key, i);
    return value->get<int64_t>();
  }
  return std::nullopt;
}

int64_t full_head(const Config& config) {
  return of_full_layers(config, "global_head_dim", "head_dim").value_or(config.integer({"head_dim"}));
}

void add_keys(const Config& config, Keys& keys) {
  const int64_t full = full_head(config), local = config.integer({"head_dim"});
  const int64_t shared = config.optional_integer({"num_kv_shared_layers"}).value_or(0);
  const std::vector<bool> is_windowed = windowed(config, keys);
  keys.real("final_logit_softcapping", config.optional_real({"final_logit_softcapping"}));
  keys.integer("attention.sliding_window", config.integer({"sliding_window"}));
  keys.integer("attention.shared_kv_layers", shared);
  keys.integer("embedding_length_per_layer_input",
               config.optional_integer({"hidden_size_per_layer_input"}).value_or(0));
  keys.booleans("attention.sliding_window_pattern", is_windowed);
  keys.integer("attention.key_length", full);
  keys.integer("attention.value_length", full);
  keys.integer("attention.key_length_swa", local);
  keys.integer("attention.value_length_swa", local);
  keys.integer("expert_feed_forward_length",
               config.optional_integer({"expert_intermediate_size", "moe_intermediate_size"}));
  if (config.optional_boolean({"use_double_wide_mlp"}).value_or(false)) {
    const int64_t width = config.integer({"intermediate_size"});
    std::vector<int64_t> widths(static_cast<size_t>(keys.n_layers()), width);
    for (int64_t i = std::max<int64_t>(0, keys.n_layers() - shared); i < keys.n_layers(); ++i)
      widths[static_cast<size_t>(i)] = 2 * width;
    keys.integers("feed_forward_length", widths);
  }
  if (const auto of_full = of_full_layers(config, "num_global_key_value_heads", "num_key_value_heads")) {
    const int64_t of_local = config.integer({"num_key_value_heads"});
    std::vector<int64_t> heads;
    for (const bool window : is_windowed) heads.push_back(window ? of_local : *of_full);
    keys.integers("attention.head_count_kv", heads);
  }
  keys.integer("rope.dimension_count", full);
  keys.integer("rope.dimension_count_swa", local);
}

// Only a share of each head turns where there is no window: the other pairs get a factor that stops them.
std::vector<GeneratedTensor> generate(const Config& config) {
  const int64_t n_pairs = full_head(config) / 2;
  const double share = config.rope_real("partial_rotary_factor").value_or(1);
  if (!(share >= 0) || share > 1) config.reject("partial_rotary_factor", "is {}, expected 0 to 1", share);
  constexpr float kStopped = 1e30f;
  GeneratedTensor tensor{"rope_freqs.weight", std::vector<float>(static_cast<size_t>(n_pairs), kStopped)};
  std::fill_n(tensor.values.begin(), static_cast<int64_t>(static_cast<double>(n_pairs) * share), 1.0f);
  return {tensor};
}

}  // namespace

const Architecture& gemma4() {
  static const Architecture kArchitecture{.name = "gemma4",
                                          .classes = kClasses,
                                          .rules = {kBlock, outer_rules(), attention_rules(), dense_rules()},
                                          .add_keys = add_keys,
                                          .generate = generate,
                                          .cuts_vocabulary = true};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

// Llama, Mistral, Mixtral, SmolLM: RoPE turns pairs of neighbours in GGUF, and a head's halves in checkpoints.
#include <cmath>
#include <numbers>

#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM"};

constexpr TensorRule kExperts[] = {
    {"model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "blk.{}.ffn_gate_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "blk.{}.ffn_down_exps.weight"},
    {"model.layers.{}.block_sparse_moe.experts.{}.w3.weight", "blk.{}.ffn_up_exps.weight"},
};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("vocab_size", config.integer({"vocab_size"}));
  keys.integer("rope.dimension_count", config.head_dim());
}

// Llama 3.1: frequencies below the original context are divided, those far above stay, and between them the factor
// goes from one to the other (transformers, modeling_rope_utils.py, "llama3").
std::vector<GeneratedTensor> generate(const Config& config) {
  const json::Json& rope = config.rope();
  const auto type = rope.find("rope_type");
  if (type == rope.end() || !type->is_string() || *type != "llama3") return {};
  const double base = config.rope_real("rope_theta").value_or(10000.0), factor = config.rope_real("factor").value_or(8.0);
  const double low = config.rope_real("low_freq_factor").value_or(1.0);
  const double high = config.rope_real("high_freq_factor").value_or(4.0);
  const double original = config.rope_real("original_max_position_embeddings").value_or(8192.0);
  const int64_t n_dims = config.head_dim();
  GeneratedTensor tensor{"rope_freqs.weight", {}};
  for (int64_t i = 0; i < n_dims; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(n_dims);
    const float frequency = 1.0f / static_cast<float>(std::pow(base, static_cast<double>(exponent)));
    const double length = 2 * std::numbers::pi / static_cast<double>(frequency);
    const double smooth = (original / length - low) / (high - low);
    double value = 1 / ((1 - smooth) / factor + smooth);
    if (length < original / high) value = 1;
    if (length > original / low) value = factor;
    tensor.values.push_back(static_cast<float>(value));
  }
  return {tensor};
}

}  // namespace

const Architecture& llama() {
  static const Architecture kArchitecture{
      .name = "llama",
      .classes = kClasses,
      .rules = {outer_rules(), paired_attention_rules(), attention_rules(), dense_rules(), kExperts},
      .add_keys = add_keys,
      .generate = generate};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

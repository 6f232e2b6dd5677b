// gpt-oss: experts in MXFP4 as they were trained, gates and ups in alternating rows. In BF16 checkpoints experts stand
// with their inputs outermost.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"GptOssForCausalLM"};

// [n_expert, n_out, n_in]
View outputs_first(const View& view) { return format(view.weight().type()).is_quantized() ? view : view.swap(1, 2); }

View every_second(const View& view, int64_t begin) {
  const auto shape = view.shape();
  return view.slice(1, begin, shape.size() > 1 ? shape[1] / 2 : 0, 2);
}

View gates(const View& view, const Config&) { return every_second(outputs_first(view), 0); }
View ups(const View& view, const Config&) { return every_second(outputs_first(view), 1); }
View downs(const View& view, const Config&) { return outputs_first(view); }
View gate_biases(const View& view, const Config&) { return every_second(view, 0); }
View up_biases(const View& view, const Config&) { return every_second(view, 1); }

constexpr TensorRule kBlock[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
    {"model.layers.{}.self_attn.sinks", "blk.{}.attn_sinks.weight"},
    {"model.layers.{}.mlp.router.weight", "blk.{}.ffn_gate_inp.weight"},
    {"model.layers.{}.mlp.router.bias", "blk.{}.ffn_gate_inp.bias"},
    {"model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_gate_exps.weight", gates},
    {"model.layers.{}.mlp.experts.gate_up_proj", "blk.{}.ffn_up_exps.weight", ups},
    {"model.layers.{}.mlp.experts.down_proj", "blk.{}.ffn_down_exps.weight", downs},
    {"model.layers.{}.mlp.experts.gate_up_proj_bias", "blk.{}.ffn_gate_exps.bias", gate_biases},
    {"model.layers.{}.mlp.experts.gate_up_proj_bias", "blk.{}.ffn_up_exps.bias", up_biases},
    {"model.layers.{}.mlp.experts.down_proj_bias", "blk.{}.ffn_down_exps.bias"},
};

void add_keys(const Config& config, Keys& keys) {
  keys.integer("attention.sliding_window", config.integer({"sliding_window"}));
  keys.integer("expert_feed_forward_length", config.integer({"intermediate_size"}));
}

}  // namespace

const Architecture& gpt_oss() {
  static const Architecture kArchitecture{.name = "gpt-oss",
                                          .classes = kClasses,
                                          .rules = {outer_rules(), kBlock, attention_rules()},
                                          .add_keys = add_keys};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

// Seed-OSS: biases at queries, keys and values.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"SeedOssForCausalLM"};

constexpr TensorRule kNorms[] = {
    {"model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"},
};

}  // namespace

const Architecture& seed_oss() {
  static const Architecture kArchitecture{
      .name = "seed_oss", .classes = kClasses, .rules = {kNorms, outer_rules(), attention_rules(), dense_rules()}};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

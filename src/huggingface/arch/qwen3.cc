// Qwen3: queries and keys with norms.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Qwen3ForCausalLM"};

}  // namespace

const Architecture& qwen3() {
  static const Architecture kArchitecture{
      .name = "qwen3", .classes = kClasses, .rules = {outer_rules(), attention_rules(), dense_rules()}};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

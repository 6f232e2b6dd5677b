// Qwen2, Qwen2.5: attention with biases.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Qwen2ForCausalLM"};

}  // namespace

const Architecture& qwen2() {
  static const Architecture kArchitecture{
      .name = "qwen2", .classes = kClasses, .rules = {outer_rules(), attention_rules(), dense_rules()}};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

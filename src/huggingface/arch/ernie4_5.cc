// ERNIE 4.5, dense.
#include "huggingface/rules.h"

namespace steelyard::huggingface {
namespace {

constexpr std::string_view kClasses[] = {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM"};

}  // namespace

const Architecture& ernie4_5() {
  static const Architecture kArchitecture{
      .name = "ernie4_5", .classes = kClasses, .rules = {outer_rules(), attention_rules(), dense_rules()}};
  return kArchitecture;
}

}  // namespace steelyard::huggingface

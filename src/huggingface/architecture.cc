#include "huggingface/architecture.h"

#include <algorithm>

#include "base/error.h"

namespace steelyard::huggingface {

#define CHECKPOINT(identifier) const Architecture& identifier();
#include "huggingface/arch/archs.def"
#undef CHECKPOINT

std::vector<const Architecture*> all_architectures() {
  return {
#define CHECKPOINT(identifier) &identifier(),
#include "huggingface/arch/archs.def"
#undef CHECKPOINT
  };
}

const Architecture& find_architecture(const std::string& class_name, const std::string& where) {
  std::string known;
  for (const Architecture* architecture : all_architectures()) {
    if (std::ranges::find(architecture->classes, class_name) != architecture->classes.end()) return *architecture;
    for (const std::string_view name : architecture->classes)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", name);
  }
  fail(where, "architecture {} is not known; known are {}", printable(class_name), known);
}

}  // namespace steelyard::huggingface

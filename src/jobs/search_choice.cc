#include "jobs/search_choice.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "plan/protection.h"
#include "plan/resolve.h"
#include "search/plan_text.h"
#include "search/simple_types.h"
#include "search/simplify.h"

namespace steelyard::jobs {

std::vector<formats::Type> candidate_types(const std::string& names) {
  std::vector<formats::Type> types;
  std::istringstream list(names);
  for (std::string name; std::getline(list, name, ',');) {
    const formats::Format* const format = formats::find_format(name);
    if (format == nullptr || format->encoder == nullptr) fail("", "--types: {} is no type to quantize to", name);
    types.push_back(format->type);
  }
  if (types.empty()) fail("", "--types: expected at least one type");
  return types;
}

search::Types smallest_types(std::span<const gguf::TensorInfo> tensors, std::span<const formats::Type> candidates,
                             const search::Types& fixed) {
  search::Types least;
  for (const gguf::TensorInfo& tensor : tensors) {
    const auto is_fixed = fixed.find(tensor.name);
    if (is_fixed != fixed.end() || plan::protection(tensor)) {
      least[tensor.name] = is_fixed != fixed.end() ? is_fixed->second : tensor.type;
      continue;
    }
    uint64_t fewest = UINT64_MAX;
    for (const formats::Type wanted : candidates) {
      const formats::Type type = plan::storable(wanted, tensor);
      const uint64_t bytes = gguf::tensor_bytes(format(type), tensor.ne).value_or(UINT64_MAX);
      if (bytes < fewest) least[tensor.name] = type;
      fewest = std::min(fewest, bytes);
    }
  }
  return least;
}

search::Types choose_types(const ChoiceProblem& problem, uint64_t budget) {
  return allocate_types(problem.damages, {.budgets = {budget}, .ties = problem.ties});
}

search::Types choose_simple(const ChoiceProblem& problem, uint64_t budget, const search::Types& best, Choice& choice) {
  search::Types simple = simple_types(problem.tensors, problem.damages, problem.ties, best, budget,
                                      static_cast<size_t>(problem.max_rules));
  choice.limit = RuleLimit{.max_rules = problem.max_rules,
                           .rules = static_cast<int64_t>(search::count_rules(problem.tensors, simple)),
                           .rules_without = static_cast<int64_t>(search::count_rules(problem.tensors, best)),
                           .divergence = divergence(problem.damages, simple).sum(),
                           .divergence_without = divergence(problem.damages, best).sum()};
  return simple;
}

void write_choice(const ChoiceProblem& problem, const std::string& note, Choice& choice) {
  search::PlanNotes notes;
  notes.head = "found by `steelyard search`" + (note.empty() ? note : "\n" + note);
  notes.losses = losses(problem.measured, choice.types);
  choice.divergence = divergence(problem.damages, choice.types).sum();
  choice.has_largest_types = std::ranges::all_of(problem.damages, [&](const search::TensorDamage& tensor) {
    const search::Damage& now = *std::ranges::find(tensor.types, choice.types.at(tensor.tensor), &search::Damage::type);
    return std::ranges::none_of(tensor.types, [&](const search::Damage& other) {
      return other.bytes > now.bytes && other.smooth + other.jumps < now.smooth + now.jumps;
    });
  });
  choice.text = search::plan_text(problem.tensors, choice.types, notes);
}

std::vector<gguf::TensorInfo> tensors_in(std::span<const gguf::TensorInfo> tensors, const search::Types& types) {
  std::vector<gguf::TensorInfo> infos(tensors.begin(), tensors.end());
  for (gguf::TensorInfo& info : infos) {
    info.type = types.at(info.name);
    info.n_bytes = gguf::tensor_bytes(format(info.type), info.ne).value_or(0);
  }
  return infos;
}

}  // namespace steelyard::jobs

#include "jobs/search_steering.h"

#include <set>

#include "base/error.h"
#include "plan/protection.h"
#include "plan/resolve.h"

namespace steelyard::jobs {

void SteeringOptions::check() const {
  if (simple < 0) fail("", "--simple: expected at least one rule, found {}", simple);
  static_cast<void>(before(plan::Plan::uniform(std::nullopt)));
}

plan::Plan SteeringOptions::before(plan::Plan plan) const {
  std::vector<plan::PlanRule> rules;
  for (const std::string& rule : fix) {
    rules.push_back(plan::Plan::parse_rule(rule, "--fix"));
    if (rules.back().is_base()) fail("--fix", "\"{}\" leaves nothing to choose", printable(rule));
  }
  plan.prepend(std::move(rules));
  return plan;
}

search::Types fixed_types(const SteeringOptions& options, const gguf::Source& source, bool has_imatrix) {
  const plan::Plan rules = options.before(plan::Plan::uniform(std::nullopt));
  const plan::Resolution resolution =
      resolve(rules, source.tensors(), plan::model_facts(source.metadata(), has_imatrix));
  for (const plan::UnusedRule& unused : resolution.unused) {
    const std::string pattern = printable(unused.rule.pattern);
    if (!unused.shadowed_by.empty()) fail("--fix", "earlier rules take all that \"{}\" matches", pattern);
    fail("--fix", "\"{}\" matches {}", pattern,
         unused.is_protected ? "only tensors that no plan changes" : "no tensor");
  }
  search::Types fixed;
  for (const plan::Decision& decision : resolution.decisions) {
    if (decision.reason != plan::Reason::kRule) continue;
    const gguf::TensorInfo& tensor = *decision.tensor;
    if (const auto protection = plan::protection(tensor)) {
      if (decision.type != tensor.type)
        fail("--fix", "{} stays as it is in what a search writes ({})", printable(tensor.name), *protection);
      continue;
    }
    const formats::Format& format = formats::format(decision.type);
    if (decision.type != tensor.type && format.encoder == nullptr)
      fail("--fix", "{} is no type to quantize to", format.name);
    fixed[tensor.name] = decision.type;
  }
  return fixed;
}

std::vector<std::vector<std::string>> gates_with_ups(std::span<const gguf::TensorInfo> tensors) {
  constexpr std::string_view kGate = "ffn_gate", kUp = "ffn_up";
  std::set<std::string_view> names;
  for (const gguf::TensorInfo& tensor : tensors) names.insert(tensor.name);
  std::vector<std::vector<std::string>> ties;
  for (const gguf::TensorInfo& tensor : tensors) {
    const size_t at = tensor.name.find(kGate);
    if (at == std::string::npos || plan::protection(tensor)) continue;
    std::string up = tensor.name;
    up.replace(at, kGate.size(), kUp);
    if (names.contains(up)) ties.push_back({tensor.name, std::move(up)});
  }
  return ties;
}

}  // namespace steelyard::jobs

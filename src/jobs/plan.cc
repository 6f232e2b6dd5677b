#include "jobs/plan.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>

#include "base/error.h"
#include "gguf/reader.h"
#include "imatrix/imatrix.h"
#include "quantize/preflight.h"

namespace steelyard::jobs {
namespace {

constexpr size_t kMaxName = 1024;  // bytes of a tensor's name, printed

std::string plans_folder() {
  const char* given = std::getenv("STEELYARD_PLANS");
  return given != nullptr ? given : STEELYARD_PLANS_DIR;
}

// The plan before anything was put in front of its rules.
Plan load_rules(const PlanSource& source) {
  if (int{!source.plan.empty()} + int{!source.preset.empty()} + int{!source.type.empty()} != 1) {
    fail("", "give one of --plan FILE, --preset NAME or a type");
  }
  if (!source.plan.empty()) return Plan::load(source.plan);
  if (!source.preset.empty()) return Plan::preset(plans_folder(), source.preset);
  if (const Format* uniform = find_format(source.type)) return Plan::uniform(uniform->type);
  std::string lower = source.type;
  std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  return lower == "copy" ? Plan::uniform(std::nullopt) : Plan::preset(plans_folder(), source.type);
}

std::string kept_because(const Decision& decision) {
  if (decision.reason == Reason::kProtected) return std::string(decision.protection);
  return decision.reason == Reason::kNoRule ? "no rule matches" : "";
}

std::vector<PlannedType> by_type(const Resolution& resolution) {
  std::map<Type, PlannedType> sums;
  for (const Decision& decision : resolution.decisions) {
    PlannedType& sum = sums[decision.type];
    sum.type = format(decision.type).name;
    sum.tensors += 1;
    sum.elements += static_cast<uint64_t>(decision.tensor->n_elements());
    sum.bytes += decision.bytes;
  }
  std::vector<PlannedType> types;
  for (auto& [type, sum] : sums) types.push_back(std::move(sum));
  std::ranges::stable_sort(types, std::ranges::greater(), &PlannedType::bytes);
  return types;
}

}  // namespace

Plan PlanSource::load() const {
  Plan loaded = load_rules(*this);
  if (pure) loaded.make_pure();

  // What names one tensor goes before expressions; what was typed goes before what lies in a file.
  std::vector<PlanRule> rules;
  const auto add = [&](const std::string& rule, const std::string& from) {
    rules.push_back(Plan::parse_rule(rule, from));
  };
  const std::string token_embedding = "^token_embd\\.weight$ = ", output = "^output\\.weight$ = ";
  if (!token_embedding_type.empty()) add(token_embedding + token_embedding_type, "--token-embedding-type");
  if (!output_tensor_type.empty()) add(output + output_tensor_type, "--output-tensor-type");
  if (leave_output_tensor) add(output + "keep", "--leave-output-tensor");
  for (const std::string& rule : tensor_type) add(rule, "command line");
  if (!tensor_type_file.empty()) {
    for (PlanRule& rule : Plan::load_rule_list(tensor_type_file)) rules.push_back(std::move(rule));
  }
  loaded.prepend(rules);
  return loaded;
}

PlanResult describe(const Resolution& resolution, const std::vector<Finding>& findings) {
  PlanResult result;
  for (const Decision& decision : resolution.decisions) {
    const gguf::TensorInfo& tensor = *decision.tensor;
    result.tensors.push_back({.name = printable(tensor.name, kMaxName),
                              .shape = {tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims},
                              .type = std::string(format(decision.type).name),
                              .wanted_type = std::string(format(decision.wanted).name),
                              .source_type = std::string(format(tensor.type).name),
                              .bytes = decision.bytes,
                              .rule = decision.rule,
                              .kept = kept_because(decision)});
  }
  result.types = by_type(resolution);
  result.n_elements = resolution.n_elements;
  result.total_bytes = resolution.total_bytes;
  result.bits_per_weight = resolution.bits_per_weight;
  for (const Finding& finding : findings) {
    result.findings.push_back({std::string(name(finding.severity)), finding.what, finding.subjects});
  }
  return result;
}

PlanResult plan(const PlanOptions& options, const ProgressCallback& progress) {
  const gguf::Reader reader(options.model, gguf::Need::kHeader);
  std::optional<Imatrix> imatrix;
  if (!options.imatrix.empty()) imatrix = Imatrix::load(options.imatrix);
  const Resolution resolution =
      resolve(options.source.load(), reader.tensors(), model_facts(reader.metadata(), imatrix.has_value()));
  const std::vector<Finding> found = findings(QuantizeJob{reader, resolution, imatrix ? &*imatrix : nullptr});
  PlanResult result = describe(resolution, found);
  if (progress) progress({.stage = "plan", .data = to_json(result)});
  if (options.strict) refuse(found, true, options.model);
  return result;
}

}  // namespace steelyard::jobs

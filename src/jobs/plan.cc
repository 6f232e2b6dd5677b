#include "jobs/plan.h"

#include <algorithm>
#include <map>
#include <optional>

#include "base/data_folder.h"
#include "base/error.h"
#include "gguf/reader.h"
#include "imatrix/matching.h"
#include "jobs/model_findings.h"
#include "jobs/source.h"
#include "plan/plan_names.h"
#include "quantize/preflight.h"

namespace steelyard::jobs {
namespace {

constexpr size_t kMaxName = 1024;  // bytes of a tensor's name, printed

constexpr std::string_view kCopy = "COPY";

std::string upper(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) { return c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c; });
  return text;
}

// The name that goes with a number; other words stay.
std::string of_number(const std::string& word) {
  const std::string_view name = plan::file_type_name(word);
  return name.empty() ? word : std::string(name);
}

// The plan before anything was put in front of its rules.
plan::Plan load_rules(const PlanSource& source) {
  if (int{!source.plan.empty()} + int{!source.preset.empty()} + int{!source.type.empty()} != 1) {
    fail("", "give one of --plan FILE, --preset NAME or a type");
  }
  if (!source.plan.empty()) return plan::Plan::load(source.plan);
  const std::string word = of_number(source.preset.empty() ? source.type : source.preset);
  if (!source.preset.empty()) return plan::Plan::preset(data_folder("plans"), word);
  if (const formats::Format* uniform = formats::find_format(word)) return plan::Plan::uniform(uniform->type);
  return upper(word) == kCopy ? plan::Plan::uniform(std::nullopt) : plan::Plan::preset(data_folder("plans"), word);
}

std::string kept_because(const plan::Decision& decision) {
  if (decision.reason == plan::Reason::kProtected) return std::string(decision.protection);
  if (decision.reason == plan::Reason::kNative) return "as published";
  return decision.reason == plan::Reason::kNoRule ? "no rule matches" : "";
}

std::vector<PlannedType> by_type(const plan::Resolution& resolution) {
  std::map<formats::Type, PlannedType> sums;
  for (const plan::Decision& decision : resolution.decisions) {
    PlannedType& sum = sums[decision.type];
    sum.type = format(decision.type).name;
    sum.tensors += 1;
    sum.elements += static_cast<uint64_t>(decision.tensor->n_elements());
    sum.bytes += decision.bytes;
  }
  std::vector<PlannedType> types;
  types.reserve(sums.size());
  for (auto& [type, sum] : sums) types.push_back(std::move(sum));
  std::ranges::stable_sort(types, std::ranges::greater(), &PlannedType::bytes);
  return types;
}

}  // namespace

std::string plan_name(const std::string& word) {
  const std::string name = of_number(word);
  if (const formats::Format* type = formats::find_format(name)) return std::string(type->name);
  if (upper(name) == kCopy) return std::string(kCopy);
  for (const std::string& preset : plan::preset_names(data_folder("plans"))) {
    if (upper(preset) == upper(name)) return preset;
  }
  return "";
}

plan::Plan PlanSource::load() const {
  plan::Plan loaded = load_rules(*this);
  if (pure) loaded.make_pure();

  // A flag that names one tensor comes before expressions. Rules typed on the command line come before those in a file.
  std::vector<plan::PlanRule> rules;
  const auto add = [&](const std::string& rule, const std::string& from) {
    rules.push_back(plan::Plan::parse_rule(rule, from));
  };
  const std::string token_embedding = "^token_embd\\.weight$ = ", output = "^output\\.weight$ = ";
  if (!token_embedding_type.empty()) add(token_embedding + token_embedding_type, "--token-embedding-type");
  if (!output_tensor_type.empty()) add(output + output_tensor_type, "--output-tensor-type");
  if (leave_output_tensor) add(output + "keep", "--leave-output-tensor");
  for (const std::string& rule : tensor_type) add(rule, "command line");
  if (!tensor_type_file.empty()) {
    for (plan::PlanRule& rule : plan::Plan::load_rule_list(tensor_type_file)) rules.push_back(std::move(rule));
  }
  loaded.prepend(rules);
  return loaded;
}

std::vector<PlanFinding> described(const std::vector<plan::Finding>& findings) {
  std::vector<PlanFinding> named;
  for (const plan::Finding& finding : findings)
    named.push_back({std::string(name(finding.severity)), finding.what, finding.subjects});
  return named;
}

PlanResult describe(const plan::Resolution& resolution, const std::vector<plan::Finding>& findings) {
  PlanResult result;
  for (const plan::Decision& decision : resolution.decisions) {
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
  result.findings = described(findings);
  return result;
}

PlanResult plan(const PlanOptions& options, const ProgressCallback& progress) {
  const auto opened = open_source(options.model, gguf::ReadMode::kHeader);
  const gguf::Source& reader = *opened;
  std::optional<imatrix::Imatrix> imatrix;
  if (!options.imatrix.empty()) imatrix = imatrix::load_for(options.imatrix, reader.tensors());
  const plan::Resolution resolution =
      resolve(options.source.load(), reader.tensors(), plan::model_facts(reader.metadata(), imatrix.has_value()));
  std::vector<plan::Finding> found = findings(quantize::QuantizeJob{reader, resolution, imatrix ? &*imatrix : nullptr});
  add_model_findings(reader.metadata(), reader.tensors(), found);
  add_source_findings(reader, resolution.decisions, found);
  PlanResult result = describe(resolution, found);
  if (progress) progress({.stage = "plan", .data = to_json(result)});
  if (options.strict) refuse(found, true, options.model);
  return result;
}

}  // namespace steelyard::jobs

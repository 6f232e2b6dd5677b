#include "plan/findings.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "formats/native.h"

namespace steelyard::plan {

std::string_view name(Severity severity) {
  constexpr std::string_view kNames[] = {"error", "warning", "note"};
  return kNames[static_cast<size_t>(severity)];
}

std::string describe(const Finding& finding) {
  constexpr size_t kShown = 3;
  const size_t n = finding.subjects.size();
  const size_t shown = std::min(n, kShown);
  std::string text = finding.what;
  for (size_t i = 0; i < shown; ++i) text += (i == 0 ? ": " : ", ") + finding.subjects[i];
  if (n > shown) text += fmt::format(" and {} more ({} in all)", n - shown, n);
  return text;
}

void add(std::vector<Finding>& findings, Severity severity, std::string_view what, std::string subject) {
  // There are few different statements, so a linear search is cheap.
  const auto same = [&](const Finding& finding) { return finding.severity == severity && finding.what == what; };
  auto found = std::find_if(findings.begin(), findings.end(), same);
  if (found == findings.end()) found = findings.insert(found, {severity, std::string(what), {}});
  found->subjects.push_back(std::move(subject));
}

namespace {

// A file of which nothing is quantized is hardly what somebody wanted who asked for types.
void add_nothing_changes(const Resolution& resolution, std::vector<Finding>& found) {
  const auto changes = [](const Decision& decision) { return decision.type != decision.tensor->type; };
  if (!resolution.asks_for_types || std::ranges::any_of(resolution.decisions, changes)) return;
  std::map<std::string, int64_t> reasons;
  for (const Decision& decision : resolution.decisions) {
    ++reasons[decision.reason == Reason::kProtected ? fmt::format("protected ({})", decision.protection)
              : decision.reason == Reason::kNoRule  ? "without a rule"
                                                    : fmt::format("{} already", format(decision.type).name)];
  }
  const std::string_view what = "nothing is quantized, every tensor keeps its type";
  for (const auto& [reason, n] : reasons) add(found, Severity::kWarning, what, fmt::format("{} {}", n, reason));
  if (reasons.empty()) add(found, Severity::kWarning, what, "the file has no tensors");
}

}  // namespace

std::vector<Finding> findings(const Resolution& resolution) {
  std::vector<Finding> found;
  add_nothing_changes(resolution, found);
  for (const UnusedRule& unused : resolution.unused) {
    const std::string rule = fmt::format("{} `{}`", unused.rule.where(), printable(unused.rule.pattern));
    if (!unused.shadowed_by.empty()) {
      const std::string also = unused.is_protected ? ", the rest is protected" : "";
      add(found, Severity::kWarning, "earlier rules take every tensor that a rule matches",
          fmt::format("{} (taken by {}{})", rule, unused.shadowed_by, also));
    } else if (unused.is_protected) {
      add(found, Severity::kWarning, "rule matches only protected tensors, which are never quantized", rule);
    } else {
      add(found, Severity::kWarning, "rule matches no tensor", rule);
    }
  }
  for (const Decision* decision : resolution.by_layer()) {
    const gguf::TensorInfo& tensor = *decision->tensor;
    if (decision->is_fallback()) {
      const formats::Format& wanted = format(decision->wanted);
      add(found, Severity::kWarning,
          fmt::format("{} instead of {}, whose blocks of {} do not divide the rows", format(decision->type).name,
                      wanted.name, wanted.block_len),
          fmt::format("{} (rows of {})", printable(tensor.name), tensor.ne[0]));
    }
    if (decision->declined) {
      add(found, Severity::kNote,
          fmt::format("kept in {}, which is no larger than {} and has the weights as they were published",
                      format(tensor.type).name, format(*decision->declined).name),
          printable(tensor.name));
    }
    if (decision->reason == Reason::kRule && formats::is_native(tensor.type) && decision->bytes > tensor.n_bytes) {
      add(found, Severity::kWarning,
          fmt::format("{} makes it larger than in {}, which has the weights as they were published",
                      format(decision->type).name, format(tensor.type).name),
          printable(tensor.name));
    }
    if (decision->is_overruled) {
      add(found, Severity::kNote, fmt::format("protected, so no rule changes it ({})", decision->protection),
          printable(tensor.name));
    }
  }
  for (const PlanRule& rule : resolution.replacing) {
    add(found, Severity::kNote, "given in place of a rule of the plan",
        fmt::format("{} `{}` (was {})", rule.where(), printable(rule.pattern), rule.replaces));
  }
  return found;
}

void refuse(const std::vector<Finding>& findings, bool strict, const std::string& where) {
  std::string all;
  for (const Finding& finding : findings) {
    const bool counts = finding.severity == Severity::kError || (strict && finding.severity == Severity::kWarning);
    if (counts) all += (all.empty() ? "" : "; ") + describe(finding);
  }
  if (!all.empty()) throw Error(where, all);
}

}  // namespace steelyard::plan

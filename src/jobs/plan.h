// What a plan does to a model, before any work: type and size of every tensor, and what is to be said about them.
// Presets are the files NAME.plan in presets/ of the folder STEELYARD_PLANS, or of the plans that came with the
// program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jobs/progress.h"
#include "plan/findings.h"

namespace steelyard::jobs {

/// Where a plan comes from, and what goes before its rules.
struct PlanSource {
  std::string type;                      ///< one type for all (Q8_0), a preset (Q4_K_M), its number (15), or COPY
  std::string plan;                      ///< file
  std::string preset;                    ///< by name or number
  std::vector<std::string> tensor_type;  ///< REGEX=TYPE
  std::string tensor_type_file;          ///< file of REGEX=TYPE, which go after `tensor_type`
  std::string token_embedding_type, output_tensor_type;
  bool leave_output_tensor = false;
  bool pure = false;  ///< the base alone

  /// One of type, plan and preset is given.
  bool given() const { return !type.empty() || !plan.empty() || !preset.empty(); }
  /// Error unless exactly one of type, plan and preset is given.
  plan::Plan load() const;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("type", self.type);
    visit("plan", self.plan);
    visit("preset", self.preset);
    visit("tensor_type", self.tensor_type);
    visit("tensor_type_file", self.tensor_type_file);
    visit("token_embedding_type", self.token_embedding_type);
    visit("output_tensor_type", self.output_tensor_type);
    visit("leave_output_tensor", self.leave_output_tensor);
    visit("pure", self.pure);
  }
};

/// The proper name of what `word` means as a PlanSource::type: "Q4_K_M" for "q4_k_m" and for "15". Empty where it means
/// nothing.
std::string plan_name(const std::string& word);

struct PlanOptions {
  std::string model;  ///< GGUF file, or the first of its shards; the header is enough
  PlanSource source;
  std::string imatrix;  ///< file: decide and check as if it were used; empty: none
  bool strict = false;  ///< warnings, and errors that quantizing would give, are errors

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("model", self.model);
    visit.group(self.source);
    visit("imatrix", self.imatrix);
    visit("strict", self.strict);
  }
};

/// One tensor's decision. Names are printable.
struct PlannedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::string type;         ///< what it gets
  std::string wanted_type;  ///< what the plan asks for; another than `type` where rows do not divide into its blocks
  std::string source_type;
  uint64_t bytes = 0;  ///< in `type`
  std::string rule;    ///< "plans/x.plan:12 `regex`", the rule or base that applies; empty: none
  std::string kept;    ///< why no rule counts: "norm", "no rule matches"; empty where one does

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("name", self.name);
    visit("shape", self.shape);
    visit("type", self.type);
    visit("wanted_type", self.wanted_type);
    visit("source_type", self.source_type);
    visit("bytes", self.bytes);
    visit("rule", self.rule);
    visit("kept", self.kept);
  }
};

/// All tensors of a type.
struct PlannedType {
  std::string type;
  uint64_t tensors = 0, elements = 0, bytes = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("type", self.type);
    visit("tensors", self.tensors);
    visit("elements", self.elements);
    visit("bytes", self.bytes);
  }
};

/// A Finding (plan/findings.h) with its severity by name.
struct PlanFinding {
  std::string severity;  ///< error, warning, note
  std::string what;
  std::vector<std::string> subjects;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("severity", self.severity);
    visit("what", self.what);
    visit("subjects", self.subjects);
  }
};

struct PlanResult {
  std::vector<PlannedTensor> tensors;  ///< in the order of the file
  std::vector<PlannedType> types;      ///< by bytes, the most first
  uint64_t n_elements = 0;
  uint64_t total_bytes = 0;  ///< of tensor data, without padding and header
  double bits_per_weight = 0;
  std::vector<PlanFinding> findings;  ///< errors first

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("tensors", self.tensors);
    visit("types", self.types);
    visit("n_elements", self.n_elements);
    visit("total_bytes", self.total_bytes);
    visit("bits_per_weight", self.bits_per_weight);
    visit("findings", self.findings);
  }
};

/// Progress: stage "plan", once, with all of the result as data: with `strict` before the Error for what was found.
PlanResult plan(const PlanOptions& options, const ProgressCallback& progress = {});

std::vector<PlanFinding> described(const std::vector<plan::Finding>& findings);
PlanResult describe(const plan::Resolution& resolution, const std::vector<plan::Finding>& findings);

}  // namespace steelyard::jobs

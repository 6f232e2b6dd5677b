// Findings about a job before its first byte: rules that decide nothing, fallbacks, missing importance. Equal ones are
// gathered under one heading, so that a model of 5,000 tensors gives a readable list.
//
// findings() here reports what the plan alone shows; quantize/preflight.h adds what importance and source show.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plan/resolve.h"

namespace steelyard::plan {

enum class Severity {
  kError,    ///< the job cannot be done
  kWarning,  ///< it can, but hardly as meant; an error where the user asks for strictness
  kNote,     ///< as documented, and worth knowing
};

/// "error", "warning", "note".
std::string_view name(Severity severity);

/// One statement and all tensors or rules that it applies to.
struct Finding {
  Severity severity;
  std::string what;                   ///< "rule matches no tensor"
  std::vector<std::string> subjects;  ///< printable, in the order in which they were added; at least one
};

/// "rule matches no tensor: x.plan:3 `foo`, x.plan:4 `bar`, x.plan:9 `baz` and 12 more (15 in all)".
std::string describe(const Finding& finding);

/// Adds a subject to the finding of this severity and statement.
void add(std::vector<Finding>& findings, Severity severity, std::string_view what, std::string subject);

/// What `resolution` alone shows. Does not depend on the order of the tensors.
std::vector<Finding> findings(const Resolution& resolution);

/// Throws one Error that lists the errors among `findings`, and the warnings if `strict`. `where`: the model.
void refuse(const std::vector<Finding>& findings, bool strict, const std::string& where);

}  // namespace steelyard::plan

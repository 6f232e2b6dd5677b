// Plans as text for people. For plan and quantize.
#pragma once

#include <string>

#include "jobs/plan.h"

namespace steelyard::tools {

/// One line per tensor: name, shape, source type, type ("Q5_0 <- Q4_K fallback"), bytes, and the rule or the reason.
std::string table(const jobs::PlanResult& plan);

/// Tensors, elements, bytes and share per type, then the totals in bytes, GiB and bits per weight.
std::string summary(const jobs::PlanResult& plan);

/// "warning: rule matches no tensor: x.plan:3 `foo`", a line for each finding.
std::string findings_text(const std::vector<jobs::PlanFinding>& findings);

/// All three.
std::string plan_report(const jobs::PlanResult& plan);

}  // namespace steelyard::tools

// steelyard plan: what a plan does to a model, before any work.
#include "jobs/plan.h"

#include "command.h"
#include "options.h"
#include "plan_report.h"
#include "progress_line.h"

namespace steelyard::tools {
namespace {

// What scripts read: less than a job's result has.
jobs::Json report(const jobs::PlanResult& plan) {
  jobs::Json tensors = jobs::Json::array();
  for (const jobs::PlannedTensor& tensor : plan.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"type", tensor.type},
                       {"bytes", tensor.bytes},
                       {"rule", tensor.rule}});
  }
  return {{"tensors", tensors},
          {"total_bytes", plan.total_bytes},
          {"bits_per_weight", plan.bits_per_weight},
          {"findings", jobs::to_json(plan)["findings"]}};
}

}  // namespace

void add_plan(CLI::App& app) {
  auto* command = app.add_subcommand("plan", "show the type and size that a plan gives to every tensor");
  auto options = std::make_shared<jobs::PlanOptions>();
  auto json = std::make_shared<bool>(false);
  command->add_option("model", options->model, "GGUF model (only its header is read)")->required();
  add_options(*command, options->source);
  add_strict(*command, options->strict);
  command->add_option("--imatrix", options->imatrix,
                      "importance matrix: resolve and check the plan as if it were "
                      "used");
  command->add_flag("--json", *json, "print JSON");
  command->callback([options, json] {
    // Printed before a strict plan is refused.
    jobs::plan(*options, [&](const jobs::Progress& progress) {
      jobs::PlanResult plan;
      jobs::read_json(progress.data, plan, "plan");
      write_out(*json ? jobs::json_text(report(plan), 1) + "\n" : plan_report(plan));
    });
  });
}

}  // namespace steelyard::tools

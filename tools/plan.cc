// steelyard plan: what a plan does to a model, before any work.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "command.h"
#include "plan/report.h"
#include "quantize/preflight.h"

namespace steelyard::tools {
namespace {

struct Options {
  std::string model;
  PlanOptions plan;
  std::string imatrix;
  bool json = false;
};

nlohmann::ordered_json to_json(const Resolution& resolution, const std::vector<Finding>& found) {
  auto tensors = nlohmann::ordered_json::array();
  for (const Decision& decision : resolution.decisions) {
    const gguf::TensorInfo& tensor = *decision.tensor;
    tensors.push_back({{"name", printable(tensor.name, 1024)},
                       {"shape", std::vector<int64_t>(tensor.ne.begin(), tensor.ne.begin() + tensor.n_dims)},
                       {"type", format(decision.type).name},
                       {"bytes", decision.bytes},
                       {"rule", decision.rule}});
  }
  auto findings = nlohmann::ordered_json::array();
  for (const Finding& finding : found) {
    findings.push_back({{"severity", name(finding.severity)}, {"what", finding.what}, {"subjects", finding.subjects}});
  }
  return {{"tensors", tensors},
          {"total_bytes", resolution.total_bytes},
          {"bits_per_weight", resolution.bits_per_weight},
          {"findings", findings}};
}

void plan(const Options& options) {
  const gguf::Reader reader(options.model, gguf::Need::kHeader);
  const std::optional<Imatrix> imatrix = load_imatrix(options.imatrix);
  const Resolution resolution =
      resolve(options.plan.load(), reader.tensors(), model_facts(reader.metadata(), imatrix.has_value()));
  const QuantizeJob job{reader, resolution, imatrix ? &*imatrix : nullptr};
  const std::vector<Finding> found = findings(job);
  if (options.json) {
    fmt::print("{}\n", to_json(resolution, found).dump(1));
  } else {
    fmt::print("{}\n{}", table(resolution), summary(resolution));
    print_findings(found);
  }
  if (options.plan.strict()) refuse(found, true, options.model);
}

}  // namespace

void add_plan(CLI::App& app) {
  auto* command = app.add_subcommand("plan", "show every tensor's type and size under a plan");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "GGUF model; its header is enough")->required();
  options->plan.add_to(*command);
  command->add_option("--imatrix", options->imatrix, "importance matrix: decide and check as if it were used");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options] { plan(*options); });
}

}  // namespace steelyard::tools

#include "jobs/quantize.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "compute/backends.h"
#include "imatrix/selection.h"
#include "jobs/calibration.h"
#include "jobs/repeat.h"
#include "jobs/threads.h"
#include "quantize/quantize.h"
#include "simd/target.h"

namespace steelyard::jobs {
namespace {

void check_options(const QuantizeOptions& options) {
  if (options.output.empty() && !options.dry_run) fail("", "no output file given");
  if (options.resume && options.restart) fail("", "--restart excludes --resume");
  options.shaping.check();
  if (options.from.empty()) return;
  // A repetition takes nothing from the options that would make it another run.
  if (to_json(options.source) != to_json(PlanSource()) || to_json(options.shaping) != to_json(ShapingOptions())) {
    fail("", "--from takes the plan and all that shapes the bytes from {}: give no others", options.from);
  }
}

void prepare(imatrix::Imatrix& imatrix, const ShapingOptions& shaping, const quantize::EditedModel& model) {
  imatrix.prior_weight = shaping.prior_weight;
  select_entries(imatrix, shaping.include_weights, shaping.exclude_weights);
  if (!shaping.prune_layers.empty()) rename_entries(imatrix, model.names);
}

// Which of the types in use the device encodes, and which the CPU.
void set_places(QuantizeResult& result, const plan::Resolution& resolution, const formats::DeviceEncoder& device) {
  std::set<std::string> there, here;
  for (const plan::Decision& decision : resolution.decisions) {
    if (decision.type == decision.tensor->type) continue;  // copied
    (device.encodes(decision.type) ? there : here).emplace(format(decision.type).name);
  }
  result.on_device = {there.begin(), there.end()};
  result.on_processor = {here.begin(), here.end()};
}

quantize::ResumePolicy resume_policy(const QuantizeOptions& options) {
  return options.resume    ? quantize::ResumePolicy::kResume
         : options.restart ? quantize::ResumePolicy::kDiscard
                           : quantize::ResumePolicy::kRefuse;
}

void report(const quantize::QuantizeProgress& at, const ProgressCallback& progress) {
  const std::string item =
      at.info == nullptr ? "" : fmt::format("[{}/{}] {}", at.tensor + 1, at.n_tensors, printable(at.info->name, 64));
  progress({.stage = "encode",
            .done = static_cast<int64_t>(at.done),
            .total = static_cast<int64_t>(at.total),
            .unit = "weights",
            .item = item});
}

}  // namespace

QuantizeResult quantize(const QuantizeOptions& options, const ProgressCallback& progress) {
  check_options(options);
  QuantizeResult result;
  result.threads = use_threads(options.threads);
  result.instruction_set = simd::target_name(simd::chosen_target());
  const bool calibrates = !options.calibrate.empty();
  const bool header_only = options.dry_run && !calibrates;
  const gguf::Reader source(options.model, header_only ? gguf::ReadMode::kHeader : gguf::ReadMode::kData);
  std::optional<imatrix::Imatrix> imatrix;
  if (!options.imatrix.empty()) imatrix = imatrix::Imatrix::load(options.imatrix);
  Recipe made_from = options.from.empty() ? recipe(options) : repeat(options, source, imatrix);
  const ShapingOptions& shaping = made_from.shaping;
  const quantize::EditedModel model = apply(shaping.edits(), source.metadata(), source.tensors());
  if (imatrix) prepare(*imatrix, shaping, model);
  const plan::Resolution resolution =
      resolve(made_from.plan, model.tensors, plan::model_facts(model.metadata, imatrix.has_value()));
  if (calibrates && !shaping.prune_layers.empty()) {
    fail("", "--calibrate and --prune-layers cannot be combined: prune the layers in a separate run first");
  }
  const std::unique_ptr<formats::DeviceEncoder> device = compute::make_device_encoder(options.backend);
  std::optional<Calibration> calibration;
  if (calibrates) calibration.emplace(source, resolution, options, shaping, device.get(), progress);
  const quantize::QuantizeJob job{source,
                                  resolution,
                                  imatrix ? &*imatrix : nullptr,
                                  shaping.allow_requantize,
                                  options.strict,
                                  calibration ? &calibration->layers() : nullptr};
  check(job);
  result.plan = describe(resolution, findings(job));
  result.bits_per_weight = resolution.bits_per_weight;
  if (device != nullptr) set_places(result, resolution, *device);
  if (options.dry_run) {
    if (progress) progress({.stage = "plan", .data = to_json(result)});
    return result;
  }
  if (calibration) {
    quantize::check_interrupted(options.output, resume_policy(options));
    calibration->start();
    set_calibration(made_from, options, calibration->text());
    result.writing = calibration->text().writing();
  }

  const quantize::QuantizeTarget target{.path = options.output,
                                        .provenance = made_from.provenance,
                                        .effort = shaping.chosen_effort(),
                                        .device = device.get(),
                                        .split = shaping.split(),
                                        .slab_bytes = options.slab,
                                        .resume_policy = resume_policy(options),
                                        .verify = options.verify,
                                        .metadata = &model.metadata,
                                        .expected = made_from.expected};
  bool plan_is_out = false;
  const auto written = quantize(job, target, [&](const quantize::QuantizeProgress& at) {
    if (!progress) return;
    if (!plan_is_out) progress({.stage = "plan", .data = to_json(result)});
    plan_is_out = true;
    report(at, progress);
  });
  result.paths = written.paths;
  result.bytes = written.bytes;
  if (calibration) {
    result.rounding = calibration->rounded();
    result.half_text_loss = calibration->half_over_all();
    calibration->text().finish();
  }
  return result;
}

}  // namespace steelyard::jobs

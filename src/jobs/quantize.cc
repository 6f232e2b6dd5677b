#include "jobs/quantize.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/output_target.h"
#include "base/sha256.h"
#include "base/temporary_file.h"
#include "compute/backends.h"
#include "gguf/fingerprint.h"
#include "gguf/reader.h"
#include "imatrix/matching.h"
#include "imatrix/selection.h"
#include "jobs/calibration.h"
#include "jobs/calibration_costs.h"
#include "jobs/model_findings.h"
#include "jobs/outputs.h"
#include "jobs/quantize_devices.h"
#include "jobs/quantize_to_size.h"
#include "jobs/repeat.h"
#include "jobs/seeds.h"
#include "jobs/source.h"
#include "jobs/threads.h"
#include "model/architecture.h"
#include "quantize/provenance.h"
#include "quantize/quantize.h"
#include "simd/target.h"

namespace steelyard::jobs {
namespace {

// What is given for a calibration, a tuning or importance that there is none of.
void refuse_ignored(const QuantizeOptions& options) {
  if (!options.conversations.given()) {
    refuse_given(options, {"chat_template", "conversations_share"}, "without --conversations");
  }
  if (options.calibrate.empty()) {
    OptionNames of_text =
        names_of<WritingOptions>() + names_of<WriterFiles>() + OptionNames{"own_share", "conversations_share"};
    if (!options.calibrates()) of_text = of_text + OptionNames{"ctx_size", "chunks", "memory"};
    refuse_given(options, of_text, "without --calibrate");
  } else {
    refuse_given(options, TextSource::parse(options.calibrate).unused(),
                 fmt::format("with --calibrate {}", options.calibrate));
  }
  if (options.imatrix.empty()) refuse_given(options, {"include_weights", "exclude_weights"}, "without --imatrix");
  if (!options.tune) refuse_given(options, names_of<TuningOptions>(), "without --tune");
  if (options.devices.vram.empty()) refuse_given(options, names_of<DeviceOptions>(), "without --vram");
}

void check_options(const QuantizeOptions& options) {
  if (options.output.empty() && !options.dry_run) fail("", "no output file given");
  if (options.resume && options.restart) fail("", "--restart excludes --resume");
  options.shaping.check();
  options.tuning.check();
  if (cluster::are_several(options.ranks)) {
    if (!options.calibrates() || options.dry_run)
      fail("", "several processes share a calibration: give --calibrate TEXT, and no --dry-run");
    if (options.tune) fail("", "--tune runs in one process: tune the file afterwards");
    refuse_own_text(TextSource::parse(options.calibrate));
  }
  if (options.tune && !options.calibrates()) fail("", "--tune needs a text: --calibrate TEXT");
  if (options.tune && !options.from.empty()) fail("", "--tune and --from cannot be combined");
  if (options.tune && (options.shaping.split_max_size > 0 || options.shaping.keep_split))
    fail("", "--tune writes one file: leave out --split-max-size and --keep-split");
  if (options.from.empty()) return refuse_ignored(options);
  // A repetition takes nothing from the options that would make it another run.
  if (to_json(options.source) != to_json(PlanSource()) || to_json(options.shaping) != to_json(ShapingOptions())) {
    fail("", "--from takes the plan and all that shapes the bytes from {}: give no others", options.from);
  }
  refuse_ignored(options);
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

// A file that is to be tuned has another name until it is, and tuning keeps its progress beside it.
std::string quantized_path(const QuantizeOptions& options) {
  return options.tune ? name_beside(options.output, ".untuned") : options.output;
}
std::string tuning_progress(const QuantizeOptions& options) { return name_beside(options.output, ".tune"); }

// Whether an interrupted run has quantized the file already, and only tuning is left. Error where it was another run,
// or the user does not say what is to become of it.
bool is_quantized(const QuantizeOptions& options, const Recipe& recipe, const gguf::Source& source) {
  const std::string path = quantized_path(options);
  if (!options.tune || !std::filesystem::exists(path)) return false;
  if (options.restart) {
    remove_file(path);
    remove_file(tuning_progress(options));
    return false;
  }
  if (!options.resume) fail(path, "is of an interrupted run: --resume goes on with it, --restart discards it");
  const quantize::Recorded recorded = quantize::read_provenance(gguf::Reader(path));
  const quantize::Provenance &was = recorded.provenance, &is = recipe.provenance;
  if (was.plan != is.plan || was.options != is.options || was.imatrix_sha256 != is.imatrix_sha256 ||
      was.calibration_sha256 != is.calibration_sha256 || recorded.source_header != quantize::header_sha256(source)) {
    fail(path, "is of an interrupted run with another model, plan, text or options: --restart discards it");
  }
  // A run that was killed after the last renaming has left its journal.
  remove_file(quantize::journal_path(path));
  return true;
}

TuneResult tune_result(const QuantizeOptions& options, const CalibrationText& text, const ProgressCallback& progress) {
  TuningRun run;
  run.model = quantized_path(options);
  run.output = options.output;
  run.teacher = options.model;
  run.backend = QuantizeDevices::first_of(options.backend);
  run.memory = options.memory;
  run.tuning = options.tuning;
  run.replace = !options.resume;
  run.text = text.recorded();
  run.text_sha256 = text.sha256();
  run.resume.resume = tuning_progress(options);
  const TuneResult result = run_tuning(run, text.chunks(), progress);
  remove_file(quantized_path(options));
  return result;
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

// Encodes and writes; the first progress shows the plan.
void write(const QuantizeOptions& options, const quantize::QuantizeJob& job, const Recipe& recipe,
           formats::DeviceEncoder* device, const gguf::Metadata& metadata, QuantizeResult& result,
           const ProgressCallback& progress) {
  const quantize::QuantizeTarget target{.path = quantized_path(options),
                                        .provenance = recipe.provenance,
                                        .effort = recipe.shaping.chosen_effort(),
                                        .device = device,
                                        .split = recipe.shaping.split(),
                                        .slab_bytes = options.slab,
                                        .resume_policy = resume_policy(options),
                                        .verify = options.verify,
                                        .metadata = &metadata,
                                        .expected = recipe.expected};
  bool plan_is_out = false;
  const auto written = quantize(job, target, [&](const quantize::QuantizeProgress& at) {
    if (!progress) return;
    if (!plan_is_out) progress({.stage = "plan", .data = to_json(result)});
    plan_is_out = true;
    report(at, progress);
  });
  result.paths = written.paths;
  result.bytes = written.bytes;
  result.findings = described(written.findings);
}

// Error where ranks would not make the same.
void expect_same_job(const QuantizeOptions& options, const Recipe& recipe, const gguf::Source& source) {
  if (!cluster::are_several(options.ranks)) return;
  const quantize::Provenance& is = recipe.provenance;
  cluster::expect_equal(
      *options.ranks,
      fmt::format("{} {} {} {} {} {} {}", simd::target_name(simd::chosen_target()), gguf::fingerprint(source),
                  is.version, sha256(is.plan), is.options, is.imatrix_sha256, is.calibration_sha256),
      "model, plan, text, option or instruction set");
}

// Other ranks than the leader, who writes.
void take_part(Calibration& calibration, const QuantizeOptions& options, Recipe& recipe, const gguf::Source& source) {
  calibration.read();
  set_calibration(recipe, options, calibration.text());
  expect_same_job(options, recipe, source);
  calibration.start();
  calibration.layers().follow();
}

}  // namespace

QuantizeResult quantize(const QuantizeOptions& given, const ProgressCallback& progress) {
  QuantizeOptions options = given;
  options.shaping.writing = given.shaping.writing.chosen(options.resume);
  options.tuning.tune_seed = chosen_seed(options.tuning.tune_seed, "--tune-seed", options.resume);
  if (cluster::are_several(options.ranks) && (options.size > 0 || !options.devices.vram.empty()))
    fail("", "--size and --vram search in one process");
  if (options.size > 0 || !options.devices.vram.empty()) {
    if (options.calibrates() && options.from.empty()) check_options(options);  // before the search
    return quantize_to_size(options, progress);
  }
  if (options.steering.given()) fail("", "--fix, --tie and --simple need --size or --vram");
  check_options(options);
  QuantizeResult result;
  result.threads = use_threads(options.threads);
  result.instruction_set = simd::target_name(simd::chosen_target());
  const bool calibrates = options.calibrates();
  const auto opened = open_source(options.model, options.dry_run ? gguf::ReadMode::kHeader : gguf::ReadMode::kData);
  const gguf::Source& source = *opened;
  std::optional<imatrix::Imatrix> imatrix;
  if (!options.imatrix.empty()) imatrix = imatrix::load_for(options.imatrix, source.tensors());
  Recipe made_from = options.from.empty() ? recipe(options) : repeat(options, source, imatrix);
  const ShapingOptions& shaping = made_from.shaping;
  const quantize::EditedModel model = apply(shaping.edits(), source.metadata(), source.tensors());
  if (imatrix) prepare(*imatrix, shaping, model);
  const plan::Resolution resolution =
      resolve(made_from.plan, model.tensors, plan::model_facts(model.metadata, imatrix.has_value()));
  if (calibrates && !shaping.prune_layers.empty()) {
    fail("", "--calibrate and --prune-layers cannot be combined: prune the layers in a separate run first");
  }
  if (options.tune) check_tunable(source, shaping.ctx_size);
  QuantizeDevices devices(options.backend);
  std::optional<Calibration> calibration;
  std::optional<CalibratedTensors> of_calibration;
  if (calibrates && options.dry_run) {
    const model::ModelConfig config = model::read_config(source);
    const CalibrationText text(calibration_text_settings(options, shaping));
    of_calibration.emplace(static_cast<int>(config.layers.size()));
    result.costs = calibration_costs(source, config, resolution, shaping, text.source(), options.memory, devices);
  } else if (calibrates) {
    calibration.emplace(source, resolution, options, shaping, devices, progress);
  }
  const quantize::QuantizeJob job{source,
                                  resolution,
                                  imatrix ? &*imatrix : nullptr,
                                  shaping.allow_requantize,
                                  options.strict,
                                  calibration      ? &calibration->layers()
                                  : of_calibration ? static_cast<quantize::LayerEncoder*>(&*of_calibration)
                                                   : nullptr};
  check(job);
  std::vector<plan::Finding> found = findings(job);
  add_model_findings(model.metadata, model.tensors, found);
  add_source_findings(source, resolution.decisions, found);
  if (options.strict) refuse(found, true, options.model);
  result.plan = describe(resolution, found);
  result.bits_per_weight = resolution.bits_per_weight;
  if (devices.encoder() != nullptr) set_places(result, resolution, *devices.encoder());
  if (options.dry_run) {
    if (progress) progress({.stage = "plan", .data = to_json(result)});
    return result;
  }
  if (calibration && !cluster::leads(options.ranks)) {
    take_part(*calibration, options, made_from, source);
    return result;
  }
  if (calibration) {
    quantize::check_interrupted(quantized_path(options), resume_policy(options));
    if (options.tune)
      check_output(options.output,
                   {options.model, options.imatrix, options.files.writer, TextSource::parse(options.calibrate).file,
                    options.conversations.conversations, options.conversations.chat_template});
    calibration->read();
    if (options.tune) check_tuning_text(calibration->text().chunks());
    set_calibration(made_from, options, calibration->text());
    expect_same_job(options, made_from, source);
    result.writing = calibration->text().writing();
    result.conversations = calibration->text().conversations();
  }
  if (!is_quantized(options, made_from, source)) {
    const auto begin = std::chrono::steady_clock::now();
    if (calibration) calibration->start();
    write(options, job, made_from, devices.encoder(), model.metadata, result, progress);
    if (calibration) {
      calibration->layers().release();
      QuantizeTimes& times = result.times.emplace(calibration->times());
      const double all = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      times.write = std::max(0.0, all - times.forward - times.moments - times.factors - times.search);
    }
  }
  if (calibration) {
    result.rounding = calibration->rounded();
    result.half_text_loss = calibration->half_over_all();
    result.stages = calibration->stages();
    result.workers = calibration->workers();
    if (options.tune) {
      result.tuning = tune_result(options, calibration->text(), progress);
      result.paths = {options.output};
      result.bytes = result.tuning->bytes;
    }
    calibration->text().finish();
  }
  return result;
}

}  // namespace steelyard::jobs

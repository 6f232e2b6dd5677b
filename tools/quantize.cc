// steelyard quantize: model + plan (+ imatrix) → GGUF.
#include "quantize/quantize.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "calibrate/calibrated_layers.h"
#include "calibrate/layer_stages.h"
#include "command.h"
#include "compute/backends.h"
#include "imatrix/selection.h"
#include "plan/report.h"
#include "quantize/edits.h"
#include "quantize_progress.h"
#include "schedule/sweep_plan.h"
#include "simd/target.h"

namespace steelyard::tools {
namespace {

// Flags that shape the result and are not in the plan. They are recorded in the file as they are on the command line,
// and --from reads them back.
class ShapingOptions {
 public:
  void add_to(CLI::App& command) {
    const auto add = [&](auto* option) { options_.push_back(option); };
    const auto word_by_word = [](CLI::Option* option) { return option->allow_extra_args(false); };
    add(command.add_option("--effort", effort, "fast, normal or best: how much search for less error")
            ->check(CLI::IsMember({"fast", "normal", "best"}))
            ->capture_default_str());
    add(command
            .add_option("--prior-weight", prior_weight, "inputs that a layer's mean weighs in an expert's importance")
            ->check(CLI::NonNegativeNumber)
            ->capture_default_str());
    add(word_by_word(
        command.add_option("--include-weights", include, "use importance of tensors with TEXT in their name")));
    add(word_by_word(
        command.add_option("--exclude-weights", exclude, "use no importance of tensors with TEXT in their name")));
    add(word_by_word(
        command.add_option("--override-kv", edits.overrides, "KEY=TYPE:VALUE, TYPE int, float, bool or str")));
    add(command.add_option("--prune-layers", edits.prune_layers, "take blocks out: 3,7-9"));
    add(command.add_flag("--allow-requantize", allow_requantize, "quantize what is quantized already"));
    add(command.add_option("-c,--ctx-size", n_ctx, "with --calibrate: tokens per chunk")
            ->check(CLI::Range(int64_t{2}, int64_t{1} << 20))
            ->capture_default_str());
    add(command.add_option("--chunks", n_chunks, "with --calibrate: at most this many chunks")
            ->check(CLI::PositiveNumber)
            ->capture_default_str());
    auto* size =
        command.add_option("--split-max-size", split.max_bytes, "cut the result into shards of 2GiB, 500MB, ...")
            ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true))
            ->check(CLI::PositiveNumber);
    auto* keep = command.add_flag("--keep-split", split.keep, "cut the result into shards where the source is cut");
    add(size);
    add(keep->excludes(size));
  }

  const std::vector<CLI::Option*>& options() const { return options_; }

  // "--effort=best", in the order of add_to(). Defaults are included, because another version may have others.
  std::vector<std::string> arguments() const {
    std::vector<std::string> words;
    for (const CLI::Option* option : options_) {
      std::vector<std::string> values = option->results();
      if (values.empty() && !option->get_default_str().empty()) values = {option->get_default_str()};
      for (const std::string& value : values) words.push_back(fmt::format("{}={}", option->get_name(), value));
    }
    return words;
  }

  // Takes over what arguments() recorded in `file`.
  void replay(std::vector<std::string> arguments, const std::string& file) {
    *this = {};
    CLI::App app;
    add_to(app);
    std::ranges::reverse(arguments);  // as CLI11 wants them
    try {
      app.parse(arguments);
    } catch (const CLI::ParseError& error) {
      fail(file, "records flags that this program does not take: {}", error.what());
    }
    options_.clear();  // they belong to `app`
  }

  Effort chosen_effort() const {
    return effort == "fast" ? Effort::kFast : effort == "best" ? Effort::kBest : Effort::kNormal;
  }

  std::string effort = "normal";
  double prior_weight = kDefaultPriorWeight;
  std::vector<std::string> include, exclude;
  Edits edits;
  bool allow_requantize = false;
  int64_t n_ctx = 512, n_chunks = 128;
  Split split;

 private:
  std::vector<CLI::Option*> options_;
};

struct Options {
  std::string source, target;
  PlanOptions plan;
  ShapingOptions shaping;
  std::string imatrix, calibrate, from, backend = "cpu";
  uint64_t slab_bytes = uint64_t{1} << 30, memory = 0;
  int threads = 0;
  bool dry_run = false, resume = false, restart = false, verify = false;
};

// What a run is made from: the user's request, or the file of --from.
struct Recipe {
  Plan plan;
  Provenance provenance;
  std::optional<Recorded> expected;
};

Recipe recipe(const Options& options) {
  Recipe made{options.plan.load(), {}, {}};
  made.provenance = {.version = STEELYARD_VERSION,
                     .plan = made.plan.text(),
                     .source_file = std::filesystem::path(options.source).filename().string(),
                     .imatrix_sha256 = options.imatrix.empty() ? "" : sha256_of_file(options.imatrix),
                     .arguments = options.shaping.arguments(),
                     .calibration_sha256 = options.calibrate.empty() ? "" : sha256_of_file(options.calibrate)};
  return made;
}

// Refuses every difference from the recorded run that is known now. Other differences show when all of the source is
// read.
Recipe repeat(Options& options, const gguf::Reader& source, std::optional<Imatrix>& imatrix) {
  const gguf::Reader file(options.from, gguf::Need::kHeader);
  const Recorded recorded = read_provenance(file);
  const Provenance& provenance = recorded.provenance;
  if (provenance.version != STEELYARD_VERSION) {
    fail(options.from, "was written by version {}, which this version {} cannot repeat to the byte",
         printable(provenance.version), STEELYARD_VERSION);
  }
  if (header_sha256(source) != recorded.source_header) {
    fail(options.source, "is not the source of {}: the header differs", options.from);
  }
  const std::string imatrix_hash = options.imatrix.empty() ? "" : sha256_of_file(options.imatrix);
  if (imatrix_hash != provenance.imatrix_sha256) {
    if (imatrix_hash.empty()) fail(options.from, "was made with an imatrix: give it with --imatrix");
    if (provenance.imatrix_sha256.empty()) fail(options.from, "was made without imatrix");
    fail(options.imatrix, "is not the imatrix of {}: the SHA-256 is {}, expected {}", options.from, imatrix_hash,
         printable(provenance.imatrix_sha256));
  }
  const std::string text_hash = options.calibrate.empty() ? "" : sha256_of_file(options.calibrate);
  if (text_hash != provenance.calibration_sha256) {
    if (text_hash.empty()) fail(options.from, "was calibrated on a text: give it with --calibrate");
    if (provenance.calibration_sha256.empty()) fail(options.from, "was made without --calibrate");
    fail(options.calibrate, "is not the calibration text of {}: the SHA-256 is {}, expected {}", options.from,
         text_hash, printable(provenance.calibration_sha256));
  }
  // Names of files are part of the result, and may have changed.
  if (imatrix) imatrix->source = file.metadata().string("quantize.imatrix.file");
  options.shaping.replay(provenance.arguments, options.from);
  return {Plan::parse(provenance.plan, options.from), provenance, recorded};
}

// Batches have the same size whatever the memory, because the result must not depend on it. Two models have hidden
// states.
CalibrationSettings calibration_settings(const gguf::Reader& source, const ModelConfig& config,
                                         const Resolution& resolution, const Options& options, DeviceEncoder* device) {
  CalibrationSettings settings{.rounding = {.feedback = {.effort = options.shaping.chosen_effort()}, .device = device}};
  const uint64_t memory = options.memory > 0 ? options.memory : physical_memory() / 5 * 4;
  const SweepPlan plan = plan_sweep(source, config, memory, moment_bytes(resolution), options.shaping.n_ctx,
                                    settings.sweep.n_batch, SweepOrder::kLayer);
  settings.sweep.stream_bytes = plan.stream_bytes / 2;
  settings.sweep.scratch_folder = std::filesystem::path(options.target).parent_path().string();
  return settings;
}

// What quantization with a calibration text needs besides the job.
struct Calibration {
  Calibration(const gguf::Reader& source, const Resolution& resolution, const Options& options, DeviceEncoder* device)
      : backend(make_backend(options.backend)),
        model(source, *backend),
        tokenizer(source.metadata()),
        chunks(tokenize_file(tokenizer, options.calibrate, /*parse_special=*/false), options.shaping.n_ctx,
               options.shaping.n_chunks, chunk_bos(tokenizer), options.calibrate),
        layers(source, resolution, model, chunks,
               calibration_settings(source, model.config(), resolution, options, device)) {}

  std::unique_ptr<Backend> backend;
  Model model;
  Tokenizer tokenizer;
  Chunks chunks;
  CalibratedLayers layers;
};

void print(const std::vector<RoundingReport>& reports) {
  fmt::print("lost of the outputs on held-out text, and matrices rounded so\n{:40} {:>9}       {:>9}       {:>9}\n", "",
             "feedback", "diagonal", "plain");
  for (const RoundingReport& report : reports) {
    fmt::print("{:40}", printable(report.name));
    for (size_t w = 0; w < kRoundings; ++w) fmt::print(" {:9.6f} {:4} ", report.loss[w], report.chosen[w]);
    fmt::print("\n");
  }
}

// Which of the types in use the device encodes, and which the CPU.
void print_places(const Resolution& resolution, std::string_view device_name, const DeviceEncoder& device) {
  std::set<std::string_view> there, here;
  for (const Decision& decision : resolution.decisions) {
    const Format& to = format(decision.type);
    if (decision.type == decision.tensor->type) continue;  // copied
    (device.encodes(to.type) ? there : here).insert(to.name);
  }
  if (!there.empty()) fmt::print("on {}: {}\n", device_name, fmt::join(there, " "));
  if (!here.empty())
    fmt::print("by the processor, for want of an encoder on {}: {}\n", device_name, fmt::join(here, " "));
}

void prepare(Imatrix& imatrix, const ShapingOptions& shaping, const EditedModel& model) {
  imatrix.prior_weight = shaping.prior_weight;
  select_entries(imatrix, shaping.include, shaping.exclude);
  if (!shaping.edits.prune_layers.empty()) rename_entries(imatrix, model.names);
}

void run_quantize(Options& options) {
  if (options.target.empty() && !options.dry_run) fail("", "an output file is needed");
  const int n_threads = set_thread_count(options.threads);
  const bool header_only = options.dry_run && options.calibrate.empty();
  const gguf::Reader source(options.source, header_only ? gguf::Need::kHeader : gguf::Need::kData);
  std::optional<Imatrix> imatrix = load_imatrix(options.imatrix);
  const Recipe recipe = options.from.empty() ? tools::recipe(options) : repeat(options, source, imatrix);
  const ShapingOptions& shaping = options.shaping;
  const EditedModel model = apply(shaping.edits, source.metadata(), source.tensors());
  if (imatrix) prepare(*imatrix, shaping, model);
  const Resolution resolution = resolve(recipe.plan, model.tensors, model_facts(model.metadata, imatrix.has_value()));
  if (!options.calibrate.empty() && !shaping.edits.prune_layers.empty()) {
    fail("", "--calibrate takes the model as it is: prune its layers in a run of its own");
  }
  const std::unique_ptr<DeviceEncoder> device = make_device_encoder(options.backend);
  std::optional<Calibration> calibration;
  if (!options.calibrate.empty()) calibration.emplace(source, resolution, options, device.get());
  const QuantizeJob job{source,
                        resolution,
                        imatrix ? &*imatrix : nullptr,
                        shaping.allow_requantize,
                        options.plan.strict(),
                        calibration ? &calibration->layers : nullptr};

  fmt::print("{}\n{}", table(resolution), summary(resolution));
  print_findings(findings(job));
  check(job);
  if (options.dry_run) return;
  fmt::print("encoding with {}, {} thread{}\n", simd::target_name(simd::chosen_target()), n_threads,
             n_threads == 1 ? "" : "s");
  if (device != nullptr) print_places(resolution, options.backend, *device);
  std::fflush(stdout);

  QuantizeResult result;
  {
    ProgressReport report;
    const QuantizeTarget target{.path = options.target,
                                .provenance = recipe.provenance,
                                .effort = shaping.chosen_effort(),
                                .device = device.get(),
                                .split = shaping.split,
                                .slab_bytes = options.slab_bytes,
                                .earlier = options.resume    ? Earlier::kResume
                                           : options.restart ? Earlier::kDiscard
                                                             : Earlier::kRefuse,
                                .verify = options.verify,
                                .metadata = &model.metadata,
                                .expected = recipe.expected};
    result = quantize(job, target, [&](const QuantizeProgress& progress) { report.show(progress); });
  }
  if (calibration) print(calibration->layers.reports());
  fmt::print("wrote {}: {} bytes, {:.4f} bits per weight{}\n", fmt::join(result.paths, " "), result.bytes,
             resolution.bits_per_weight, options.verify ? ", read back and verified" : "");
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto* command = app.add_subcommand("quantize", "write a model in the types of a plan");
  auto options = std::make_shared<Options>();
  command->add_option("in", options->source, "GGUF model, or the first of its shards")->required();
  command->add_option("out", options->target, "GGUF file to write");
  auto* from = command->add_option("--from", options->from, "make FILE again: plan and flags are in its metadata");
  // A repetition accepts no option that would make it another run.
  const size_t n_before = command->get_options().size();
  options->plan.add_to(*command);
  options->shaping.add_to(*command);
  const std::vector<CLI::Option*> all = command->get_options({});
  for (size_t i = n_before; i < all.size(); ++i) {
    if (all[i]->get_name() != "--strict") from->excludes(all[i]);
  }
  command->add_option("--imatrix", options->imatrix, "importance matrix, GGUF or .dat");
  command->add_option("--calibrate", options->calibrate,
                      "text that passes through the layers while they are quantized, with error feedback");
  command
      ->add_option("--backend", options->backend,
                   fmt::format("where rows are encoded ({}); the bytes are the same. With --calibrate the text passes "
                               "through there, too, and layers' inputs differ in their last digits",
                               encoding_backends()))
      ->capture_default_str();
  command->add_option("-t,--threads", options->threads, "threads; all cores by default")
      ->check(CLI::Range(0, kMaxThreads));
  command->add_option("--slab", options->slab_bytes, "memory for weights on their way, at most: 1GiB, 200MB, ...")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  command
      ->add_option(
          "--memory", options->memory,
          "with --calibrate: memory to use, e.g. 16GiB; text on its way that exceeds it lies in a scratch file "
          "beside the result")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  auto* resume = command->add_flag("--resume", options->resume, "go on after an interrupted run onto the same file");
  command->add_flag("--restart", options->restart, "discard what an interrupted run left")->excludes(resume);
  command->add_flag("--verify", options->verify, "read the result back from the disk before it gets its name");
  command->add_flag("--dry-run", options->dry_run, "show the decisions, check everything, write nothing");
  command->callback([options] { run_quantize(*options); });
}

}  // namespace steelyard::tools

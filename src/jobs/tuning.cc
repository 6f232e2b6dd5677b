#include "jobs/tuning.h"

#include <chrono>
#include <filesystem>
#include <optional>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/log_file.h"
#include "base/memory.h"
#include "base/output_target.h"
#include "base/sha256.h"
#include "base/temporary_file.h"
#include "evaluate/compact_base.h"
#include "evaluate/evaluation.h"
#include "gguf/fingerprint.h"
#include "gguf/shards.h"
#include "gguf/writer.h"
#include "jobs/model_options.h"
#include "jobs/outputs.h"
#include "jobs/shaping.h"
#include "jobs/source.h"
#include "model/architecture.h"
#include "quantize/provenance.h"
#include "tune/tuner.h"

namespace steelyard::jobs {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Tokens that pass a layer together; a step's chunks come in batches of so many.
constexpr int64_t kBatch = 2048;
// Steps after which their time is known.
constexpr int64_t kTimedSteps = 5;

// Where the teacher's distributions are, while they are needed.
std::string teacher_path(const TuningRun& run) {
  return name_beside(run.resume.resume.empty() ? run.output : run.resume.resume, ".teacher");
}

evaluate::ModelIdentity identity_of(const gguf::Source& file) {
  return evaluate::model_identity(file, model::read_config(file), tokenizer::Tokenizer(file.metadata()));
}

// Whether a base of these chunks was made with the model already, by an interrupted run.
bool is_made(const std::string& path, const tokenizer::Chunks& chunks, const evaluate::ModelIdentity& teacher) {
  if (!std::filesystem::exists(path)) return false;
  try {
    const auto base = evaluate::DivergenceBase::open(path);
    base->require(chunks, teacher);
    const auto* const compact = dynamic_cast<const evaluate::CompactBase*>(base.get());
    return compact != nullptr && compact->fingerprint() == teacher.fingerprint;
  } catch (const Error&) {  // another run's
    return false;
  }
}

// The teacher's distributions at all positions of the chunks, layer by layer where it exceeds the memory.
void write_base(const TuningRun& run, const tokenizer::Chunks& chunks, const ProgressCallback& progress) {
  const std::string path = teacher_path(run);
  const SweepChoice choice{.memory = run.memory};
  const OpenModel teacher({.model = run.teacher, .backend = {run.backend}}, chunks.n_ctx(), &choice);
  const model::ModelConfig& config = teacher.model().config();
  const evaluate::ModelIdentity identity = identity_of(teacher.reader());
  const std::string unfinished = name_beside(path, ".progress");
  if (is_made(path, chunks, identity)) return remove_file(unfinished);
  evaluate::EvaluationOptions how;
  how.sweep =
      choice.sweep(teacher.reader(), config, evaluation_bytes(chunks, identity), chunks.n_ctx(), /*output=*/path);
  how.sweep.starts = [&](int64_t chunk) { return chunks.starts(chunk); };
  how.settings = teacher.settings();
  how.base_path = path;
  how.write_base = true;
  if (!run.resume.resume.empty()) how.progress_path = unfinished;
  how.save_every = run.resume.interval();
  evaluate::EvaluationResult made = evaluate::evaluate(teacher.model(), identity, chunks, nullptr, how,
                                                       [&](std::span<const evaluate::TokenScore> scores) {
                                                         if (progress)
                                                           progress({.stage = "teacher",
                                                                     .done = std::ssize(scores) / chunks.n_scored(),
                                                                     .total = chunks.count(),
                                                                     .unit = "chunks"});
                                                       });
  made.progress.remove();
}

// What would stop the run after the teacher's work.
void check_models(const TuningRun& run, int64_t n_ctx) {
  const auto opened = open_source(run.model);
  const gguf::Source& file = *opened;
  check_tunable(file, n_ctx);
  // Weights are copied, because their scales change, and hidden states are kept between layers.
  const uint64_t memory = usable_memory(run.memory);
  uint64_t needed = 0;
  for (const gguf::TensorInfo& tensor : file.tensors()) needed += tensor.n_bytes;
  if (needed > memory && !compute::make_backend(run.backend)->free_memory())
    fail(run.model, "tuning needs {} bytes for the model, {} may be used", needed, memory);
  if (run.teacher.empty()) return;
  check_output(teacher_path(run), {run.model, run.teacher});
  if (identity_of(*open_source(run.teacher)).vocabulary != identity_of(file).vocabulary)
    fail(run.teacher, "has another vocabulary or BOS than {}", run.model);
}

// Everything that is computed with; members are made in this order.
class Workbench {
 public:
  Workbench(const TuningRun& run, tokenizer::Chunks chunks, const evaluate::DivergenceBase& base)
      : run_(run),
        chunks_(std::move(chunks)),
        base_(base),
        opened_(open_source(run.model)),
        backend_(compute::make_backend(run.backend)),
        tape_(*backend_),
        model_(file_, tape_, {}, &loaded_),
        sweep_(
            model_, tape_, chunks_.n_ctx(), {chunks_.first_scored(), chunks_.n_scored()},
            [this](int64_t chunk) { return chunks_.input(chunk); }, sweep_options(), &loaded_),
        parameters_(file_, loaded_, {run.tuning.rate_vectors, run.tuning.rate_routers, run.tuning.rate_scales}, tape_),
        tuner_(chunks_, base, sweep_, parameters_, settings()) {
    if (parameters_.count() == 0) fail(run.model, "has nothing to tune");
  }

  const gguf::Source& file() const { return file_; }
  const tune::Parameters& parameters() const { return parameters_; }
  tune::Tuner& tuner() { return tuner_; }
  int64_t n_training() const { return chunks_.count() - settings().n_held_out; }

  // What must be equal for two runs to give the same bits.
  std::string identity() const {
    return sha256(fmt::format("{}\n{}\n{}\n{}\n{}", gguf::fingerprint(file_), base_.digest(),
                              sha256(std::as_bytes(chunks_.tokens())), json_text(to_json(run_.tuning)), tape_.name()));
  }

 private:
  schedule::SweepOptions sweep_options() const {
    schedule::SweepOptions options{.n_batch = std::max(kBatch, chunks_.n_ctx()), .keep_layers = true};
    options.hidden_state_bytes = usable_memory(run_.memory) / 4;
    options.scratch_folder = std::filesystem::path(run_.output).parent_path().string();
    options.starts = [this](int64_t chunk) { return chunks_.starts(chunk); };
    return options;
  }

  tune::TunerSettings settings() const {
    const TuningOptions& tuning = run_.tuning;
    return {.steps = tuning.steps,
            .chunks_per_step = tuning.step_chunks,
            .n_held_out = std::min(tuning.held_out, std::max<int64_t>(1, chunks_.count() / 4)),
            .compare_every = tuning.compare_every,
            .seed = static_cast<uint64_t>(tuning.tune_seed)};
  }

  const TuningRun& run_;
  const tokenizer::Chunks chunks_;
  const evaluate::DivergenceBase& base_;
  const std::unique_ptr<const gguf::Source> opened_;
  const gguf::Source& file_ = *opened_;
  const std::unique_ptr<compute::Backend> backend_;
  compute::GradientTape tape_;
  model::LoadedTensors loaded_{.weights = {}, .vectors = {}, .writable = true};
  const model::Model model_;
  schedule::GradientSweep sweep_;
  tune::Parameters parameters_;
  tune::Tuner tuner_;
};

TuneComparison shown(const tune::Comparison& at) { return {at.step, at.divergence, at.training}; }

// All steps that are left; returns how many there were before.
int64_t take_steps(const TuningRun& run, Workbench& bench, ResumeFile& state, const ProgressCallback& progress) {
  tune::Tuner& tuner = bench.tuner();
  const bool resumed = tuner.load(state, run.replace ? ResumeFile::Unusable::kReplace : ResumeFile::Unusable::kRefuse);
  const Clock::time_point begin = Clock::now();
  Clock::time_point saved = begin, first_step = begin;
  const int64_t before = resumed ? tuner.done() : 0;
  for (int64_t taken = 0; !tuner.finished(); ++taken) {
    const size_t n_compared = tuner.comparisons().size();
    const int64_t step = tuner.advance();
    if (taken == 0) first_step = Clock::now();
    if (run.time > 0 && taken == kTimedSteps) {
      const double each = seconds_since(first_step) / kTimedSteps;
      const double left = (run.time - seconds_since(begin)) / each;
      tuner.shorten(step + static_cast<int64_t>(std::min(left, static_cast<double>(tuner.steps()))));
    }
    if (state.is_kept() && Clock::now() - saved >= run.resume.interval()) {
      tuner.save(state);
      saved = Clock::now();
    }
    if (!progress) continue;
    Progress at{.stage = "tune", .done = step, .total = tuner.steps(), .unit = "steps"};
    if (tuner.comparisons().size() > n_compared) at.data = to_json(shown(tuner.comparisons().back()));
    progress(at);
  }
  tuner.save(state);  // what follows until the result is safe can be interrupted, too
  return before;
}

// The file with tuned bytes in the place of its own, and in its metadata how they came about. Without them, the file.
void write_result(const TuningRun& run, const Workbench& bench, const TuneResult& result) {
  const gguf::Source& file = bench.file();
  gguf::Metadata metadata = file.metadata();
  gguf::erase_split_keys(metadata);
  if (bench.parameters().changed()) {
    // The header with them comes first, and only one tensor's bytes are in memory at a time: they are made twice.
    std::vector<std::string> hashes;
    for (const gguf::TensorInfo& tensor : file.tensors()) {
      const std::vector<std::byte> tuned = bench.parameters().bytes(tensor);
      hashes.push_back(tuned.empty() ? "" : sha256(tuned));
    }
    quantize::add_tuning(metadata,
                         {.options = json_text(to_json(run.tuning)),
                          .text = run.text,
                          .text_sha256 = run.text_sha256,
                          .teacher = model_name(run.teacher.empty() ? run.base : run.teacher),
                          .source_file = run.source,
                          .source_header = quantize::header_sha256(file),
                          .steps = result.best_step},
                         hashes);
  }
  gguf::Writer out(run.output, metadata, {file.tensors().begin(), file.tensors().end()});
  for (const gguf::TensorInfo& tensor : file.tensors()) {
    const std::vector<std::byte> tuned = bench.parameters().bytes(tensor);
    out.append(tuned.empty() ? std::span<const std::byte>(file.read(tensor)) : std::span<const std::byte>(tuned));
  }
  out.finish();
}

}  // namespace

void TuningOptions::check() const {
  const auto at_least = [](const char* flag, int64_t value, int64_t least) {
    if (value < least) fail("", "{}: expected at least {}, found {}", flag, least, value);
  };
  at_least("--steps", steps, 1);
  at_least("--step-chunks", step_chunks, 1);
  at_least("--held-out", held_out, 1);
  at_least("--compare-every", compare_every, 1);
  at_least("--tune-seed", tune_seed, 0);
  const std::pair<const char*, double> rates[] = {
      {"--rate-vectors", rate_vectors}, {"--rate-routers", rate_routers}, {"--rate-scales", rate_scales}};
  for (const auto& [flag, rate] : rates) {
    if (!(rate >= 0 && std::isfinite(rate))) fail("", "{}: expected a number from 0 on, found {}", flag, rate);
  }
}

void check_tunable(const gguf::Source& model, int64_t n_ctx) {
  const model::ModelConfig config = model::read_config(model);
  schedule::GradientSweep::require_backward(model.path(), config);
  if (n_ctx > config.n_context) fail("", "a context of {} tokens exceeds the model's {}", n_ctx, config.n_context);
}

void check_tuning_text(const tokenizer::Chunks& chunks) {
  if (chunks.count() < 2) fail("", "tuning needs at least 2 chunks of text, found {}", chunks.count());
}

TuneResult run_tuning(const TuningRun& run, tokenizer::Chunks chunks, const ProgressCallback& progress) {
  run.tuning.check();
  check_tuning_text(chunks);
  check_models(run, chunks.n_ctx());
  const std::string& resume = run.resume.resume;
  std::string base_path = run.base;
  // Two runs would take each other's teacher.
  std::optional<LockFile> lock;
  lock.emplace(name_beside(run.output, ".lock"), run.output);
  TemporaryFile made;
  if (!run.teacher.empty()) {
    base_path = teacher_path(run);
    if (resume.empty()) made = TemporaryFile(base_path);
    chunks.score_from(0);
    write_base(run, chunks, progress);
  }
  TuneResult result{.output = run.output};
  ResumeFile state;
  {
    const auto base = evaluate::DivergenceBase::open(base_path);
    chunks.score_from(base->first_scored());
    base->require(chunks, identity_of(*open_source(run.model)));
    Workbench bench(run, std::move(chunks), *base);
    result.n_parameters = bench.parameters().count();
    result.n_tensors = bench.parameters().n_tensors();
    if (progress) {
      progress({.stage = "tuning",
                .data = {{"n_parameters", result.n_parameters},
                         {"n_tensors", result.n_tensors},
                         {"n_training", bench.n_training()},
                         {"steps", bench.tuner().steps()}}});
    }
    const Clock::time_point begin = Clock::now();
    state = tune::Tuner::open_state(resume, resume.empty() ? "" : bench.identity());
    result.resumed_steps = take_steps(run, bench, state, progress);
    result.seconds = seconds_since(begin);
    for (const tune::Comparison& at : bench.tuner().comparisons()) result.comparisons.push_back(shown(at));
    result.best_step = bench.tuner().best().step;
    result.divergence_before = bench.tuner().comparisons().front().divergence;
    result.divergence = bench.tuner().best().divergence;
    write_result(run, bench, result);
  }
  result.bytes = std::filesystem::file_size(run.output);
  if (!run.teacher.empty()) remove_file(base_path);
  lock.reset();  // before the progress: as long as that is there, a later run clears away what a killed one left
  state.remove();
  return result;
}

}  // namespace steelyard::jobs

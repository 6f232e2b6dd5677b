#include "jobs/tune.h"

#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "compute/gradient_tape.h"
#include "evaluate/evaluation.h"
#include "gguf/writer.h"
#include "jobs/outputs.h"
#include "jobs/threads.h"
#include "tune/tuner.h"

namespace steelyard::jobs {
namespace {

using Clock = std::chrono::steady_clock;

void write_result(const TuneOptions& options, const gguf::Reader& source, const tune::Parameters& parameters) {
  const gguf::Metadata metadata = source.metadata();
  gguf::Writer out(options.output, metadata, {source.tensors().begin(), source.tensors().end()});
  for (const gguf::TensorInfo& tensor : source.tensors()) {
    const std::vector<std::byte> bytes = parameters.bytes(tensor);
    out.append(bytes.empty() ? source.bytes(tensor) : std::span<const std::byte>(bytes));
  }
  out.finish();
}

}  // namespace

TuneResult tune(const TuneOptions& options, const ProgressCallback& progress) {
  const int threads = use_threads(options.threads);
  (void)threads;
  const gguf::Reader source(options.model);
  const std::unique_ptr<compute::Backend> backend = compute::make_backend(options.backend);
  compute::GradientTape tape(*backend);
  model::LoadedTensors loaded{.writable = true};
  const model::Model model(source, tape, {}, &loaded);
  const tokenizer::Tokenizer tokenizer(source.metadata());
  CalibrationText text({.source = TextSource::parse(options.text.file),
                        .n_ctx = options.text.ctx_size,
                        .n_chunks = options.text.chunks,
                        .from_chunk = options.text.from_chunk,
                        .parse_special = options.text.parse_special,
                        .own_share = 0.75,
                        .writing = options.writing,
                        .files = options.files,
                        .model = {.model = options.teacher.empty() ? options.model : options.teacher}});
  text.read(tokenizer, model.config(), progress);
  tokenizer::Chunks chunks = text.chunks();

  std::string base_path = options.kl_divergence_base;
  if (!options.teacher.empty()) {
    base_path = options.output + ".teacher";
    chunks.score_from(getenv("FS") ? atoi(getenv("FS")) : 0);
    const OpenModel teacher({.model = options.teacher});
    const tokenizer::Tokenizer its_tokenizer(teacher.reader().metadata());
    const evaluate::ModelIdentity identity =
        evaluate::model_identity(teacher.reader(), teacher.model().config(), its_tokenizer);
    evaluate::EvaluationOptions how;
    how.sweep = SweepChoice{.memory = options.memory}.sweep(teacher.reader(), teacher.model().config(), 0,
                                                            chunks.n_ctx(), options.output);
    how.base_path = base_path;
    how.write_base = true;
    evaluate::evaluate(teacher.model(), identity, chunks, nullptr, how, [](std::span<const evaluate::TokenScore>) {});
  }
  const auto base = evaluate::DivergenceBase::open(base_path);
  chunks.score_from(base->first_scored());
  base->require(chunks, evaluate::model_identity(source, model.config(), tokenizer));

  schedule::SweepOptions sweeping{.n_batch = options.tuning.step_chunks * chunks.n_ctx(), .keep_layers = true};
  sweeping.starts = [&](int64_t chunk) { return chunks.starts(chunk); };
  schedule::GradientSweep sweep(
      model, tape, chunks.n_ctx(), {chunks.first_scored(), chunks.n_scored()},
      [&](int64_t chunk) { return chunks.input(chunk); }, sweeping, &loaded);
  tune::Parameters parameters(
      source, loaded, {options.tuning.rate_vectors, options.tuning.rate_routers, options.tuning.rate_scales}, tape);
  tune::Tuner tuner(chunks, *base, sweep, parameters,
                    {.steps = options.tuning.steps,
                     .chunks_per_step = options.tuning.step_chunks,
                     .n_held_out = options.tuning.held_out,
                     .compare_every = options.tuning.compare_every,
                     .seed = static_cast<uint64_t>(options.tuning.tune_seed)});
  size_t n_seen = 0;
  while (!tuner.finished()) {
    const int64_t step = tuner.advance();
    Progress at{.stage = "tune", .done = step, .total = options.tuning.steps, .unit = "steps"};
    if (tuner.comparisons().size() > n_seen) {
      const tune::Comparison& last = tuner.comparisons().back();
      at.data = {{"divergence", last.divergence},
                 {"before", tuner.comparisons().front().divergence},
                 {"training", last.training}};
      n_seen = tuner.comparisons().size();
    }
    if (progress) progress(at);
  }
  write_result(options, source, parameters);
  if (!options.teacher.empty()) std::filesystem::remove(base_path);

  TuneResult result{.output = options.output, .n_parameters = parameters.count()};
  for (const tune::Comparison& at : tuner.comparisons())
    result.comparisons.push_back({at.step, at.divergence, at.training});
  result.best_step = tuner.best().step;
  result.divergence_before = tuner.comparisons().front().divergence;
  result.divergence = tuner.best().divergence;
  return result;
}

}  // namespace steelyard::jobs

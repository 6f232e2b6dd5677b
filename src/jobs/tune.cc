#include "jobs/tune.h"

#include <filesystem>

#include "base/error.h"
#include "base/output_target.h"
#include "evaluate/divergence_base.h"
#include "jobs/outputs.h"
#include "jobs/seeds.h"
#include "jobs/source.h"
#include "jobs/threads.h"
#include "model/architecture.h"

namespace steelyard::jobs {
namespace {

void check(const TuneOptions& options) {
  options.tuning.check();
  if (!(options.time >= 0)) fail("", "--time: expected seconds, found {}", options.time);
  if (options.output.empty()) fail("", "--output is required");
  if (options.teacher.empty() == options.kl_divergence_base.empty())
    fail("", "give one of --teacher MODEL and --kl-divergence-base FILE");
  if (options.text.ppl_stride != 0) fail("", "--ppl-stride: tuning has none");
  const bool has_text = !options.text.file.empty() || options.conversations.given();
  if (!has_text && options.kl_divergence_base.empty()) fail("", "no text given: -f FILE");
  const TextSource source = TextSource::parse(options.text.file);
  if (source.own && options.teacher.empty()) fail("", "-f self: a text that the teacher writes needs --teacher MODEL");
  if (!options.conversations.given()) {
    refuse_given(options, {"chat_template", "conversations_share"}, "without --conversations");
  }
  if (!has_text) {
    refuse_given(
        options,
        names_of<WritingOptions>() + names_of<WriterFiles>() + OptionNames{"from_chunk", "parse_special", "own_share"},
        "on the base's text; -f TEXT gives another");
  } else if (!options.text.file.empty()) {
    refuse_given(options, source.unused(), fmt::format("with -f {}", options.text.file));
  }
  options.resume.check();
  const std::vector<std::string> inputs = {options.model,
                                           options.teacher,
                                           options.kl_divergence_base,
                                           source.file,
                                           options.conversations.conversations,
                                           options.conversations.chat_template};
  check_output(options.output, inputs);
  if (!options.resume.resume.empty()) check_output(options.resume.resume, inputs, {options.output});
}

tokenizer::Chunks chunks_of_base(const TuneOptions& options, const tokenizer::Tokenizer& tokenizer) {
  const auto base = evaluate::DivergenceBase::open(options.kl_divergence_base);
  if (options.text.ctx_size != TextOptions().ctx_size && options.text.ctx_size != base->n_ctx())
    fail(options.kl_divergence_base, "was made with context {}, not {}", base->n_ctx(), options.text.ctx_size);
  return {base->tokens(), base->n_ctx(), options.text.chunks, chunk_bos(tokenizer), options.kl_divergence_base};
}

CalibrationTextSettings text_settings(const TuneOptions& options) {
  return {.source = TextSource::parse(options.text.file),
          .n_ctx = options.text.ctx_size,
          .n_chunks = options.text.chunks,
          .from_chunk = options.text.from_chunk,
          .parse_special = options.text.parse_special,
          .own_share = options.own_share,
          .writing = options.writing,
          .files = options.files,
          .conversations = options.conversations,
          .conversations_share = options.conversations_share,
          .model = {.model = options.teacher.empty() ? options.model : options.teacher,
                    .backend = {options.backend},
                    .threads = options.threads},
          .progress = {.resume = options.resume.resume.empty() ? "" : name_beside(options.resume.resume, ".text"),
                       .save_every = options.resume.save_every},
          .memory = options.memory};
}

}  // namespace

TuneResult tune(const TuneOptions& given, const ProgressCallback& progress) {
  TuneOptions options = given;
  const bool goes_on = !options.resume.resume.empty();
  options.writing = given.writing.chosen(goes_on);
  options.tuning.tune_seed = chosen_seed(options.tuning.tune_seed, "--tune-seed", goes_on);
  check(options);
  use_threads(options.threads);
  TuningRun run{.model = options.model,
                .output = options.output,
                .teacher = options.teacher,
                .base = options.kl_divergence_base,
                .backend = options.backend,
                .memory = options.memory,
                .tuning = options.tuning,
                .time = options.time,
                .resume = options.resume,
                .source = model_name(options.model)};
  const auto opened = open_source(options.model, gguf::ReadMode::kHeader);
  const gguf::Source& file = *opened;
  const tokenizer::Tokenizer tokenizer(file.metadata());
  if (options.text.file.empty() && !options.conversations.given())
    return run_tuning(run, chunks_of_base(options, tokenizer), progress);
  check_tunable(file, options.text.ctx_size);
  CalibrationText text(text_settings(options));
  text.read(tokenizer, model::read_config(file), progress);
  run.text = text.recorded();
  run.text_sha256 = text.sha256();
  const TuneResult result = run_tuning(run, text.chunks(), progress);
  text.finish();
  return result;
}

}  // namespace steelyard::jobs

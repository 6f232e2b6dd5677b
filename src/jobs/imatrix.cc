#include "jobs/imatrix.h"

#include <chrono>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/output_target.h"
#include "base/sha256.h"
#include "calibrate/collect.h"
#include "gguf/fingerprint.h"
#include "imatrix/coverage.h"
#include "jobs/calibration_text.h"
#include "jobs/outputs.h"
#include "jobs/source.h"
#include "measure/speed.h"
#include "model/architecture.h"

namespace steelyard::jobs {
namespace {

// Experts with fewer tokens are listed, unless the user gives another number.
constexpr int64_t kFewTokens = 64;

// Own text for experts that see few tokens: an expert that was not reached by then is not reached by this model's text.
constexpr int64_t kMostRounds = 16;

// The sums in F64, and a copy while they are written.
uint64_t result_bytes(const gguf::Source& reader) {
  uint64_t values = 0;
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    if (tensor.n_dims > 1) values += static_cast<uint64_t>(tensor.ne[0] * tensor.ne[2]);
  }
  return values * (sizeof(double) + sizeof(float));
}

// What must be equal for two runs to give the same bits, and to divide the work into the same steps.
std::string run_identity(const OpenModel& model, const CalibrationText& text, const calibrate::CollectOptions& how) {
  const tokenizer::Chunks& chunks = text.chunks();
  const auto first = chunks.tokens().first(static_cast<size_t>(text.n_first() * chunks.n_ctx()));
  return sha256(fmt::format("{}\n{}\n{} {} {} {} {} {}\n{}", gguf::fingerprint(model.reader()),
                            sha256(std::as_bytes(first)), chunks.n_ctx(), how.round, how.min_expert_tokens,
                            how.with_output, how.sweep.n_batch, how.sweep.keep_layers, model.settings()));
}

bool has_text(const ImatrixOptions& options) { return !options.text.file.empty() || options.conversations.given(); }

// What only a text file has.
const OptionNames kOfText = {"own_share", "from_chunk", "parse_special", "conversations_share"};

bool grows(const ImatrixOptions& options) {
  const TextSource source = TextSource::parse(options.text.file);
  return options.min_expert_tokens > 0 && source.own && source.file.empty() && !options.conversations.given();
}

// With a minimum per expert, --chunks is the number of chunks between two looks at the coverage: of a file, all may be
// needed; what the model writes is made as it is needed.
CalibrationTextSettings text_settings(const ImatrixOptions& options) {
  const TextSource source = TextSource::parse(options.text.file);
  return {.source = source,
          .n_ctx = options.text.ctx_size,
          .n_chunks = !source.own && options.min_expert_tokens > 0 ? 0 : options.text.chunks,
          .whole_file = true,
          .from_chunk = options.text.from_chunk,
          .parse_special = options.text.parse_special,
          .own_share = options.own_share,
          .writing = options.writing,
          .files = options.files,
          .conversations = options.conversations,
          .conversations_share = options.conversations_share,
          .model = options.model,
          .progress = {.resume = options.resume.resume.empty() ? "" : name_beside(options.resume.resume, ".text"),
                       .save_every = options.resume.save_every},
          .memory = options.sweep.memory,
          .grows = grows(options)};
}

calibrate::CollectOptions collect_options(const ImatrixOptions& options, const OpenModel& model,
                                          const CalibrationText& text) {
  const tokenizer::Chunks& chunks = text.chunks();
  calibrate::CollectOptions how;
  how.with_output = options.process_output && model.model().output().name == "output.weight";
  how.dataset = options.text.file;
  if (options.conversations.given()) {
    how.dataset += (how.dataset.empty() ? "" : "+") + options.conversations.conversations;
  }
  how.sweep = options.sweep.sweep(model.reader(), model.model().config(), result_bytes(model.reader()), chunks.n_ctx(),
                                  options.output_file, options.ranks);
  if (options.min_expert_tokens > 0) how.round = text.source().own ? text.n_first() : options.text.chunks;
  how.min_expert_tokens = options.min_expert_tokens;
  how.progress_path = options.resume.resume;
  how.save_every = options.resume.interval();
  if (!how.progress_path.empty() || options.ranks != nullptr) how.identity = run_identity(model, text, how);
  return how;
}

std::vector<BrokenChunk> broken_chunks(const calibrate::CollectResult& result, int n_layers) {
  std::vector<BrokenChunk> broken;
  for (const auto& [chunk, layer] : result.broken) {
    broken.push_back({chunk, layer < 0          ? "the token embeddings"
                             : layer < n_layers ? fmt::format("block {}", layer)
                                                : "the layers after the last block"});
  }
  return broken;
}

std::vector<BlockCoverage> block_coverage(const imatrix::Imatrix& imatrix, int64_t wanted) {
  std::vector<BlockCoverage> rows;
  for (const imatrix::ExpertCoverage& block : expert_coverage(imatrix.entries, wanted)) {
    rows.push_back({.block = printable(block.block),
                    .n_expert = block.n_expert,
                    .unseen = block.unseen,
                    .below = block.below,
                    .least = block.least,
                    .least_expert = block.least_expert,
                    .median = block.median});
  }
  return rows;
}

// What was collected, and what to remove when it is in safety.
struct Collected {
  imatrix::Imatrix imatrix;
  ResumeFile progress, progress_of_text;
};

Collected collect(const ImatrixOptions& options, ImatrixResult& result, const ProgressCallback& progress) {
  const OpenModel model(options.model, options.text.ctx_size, &options.sweep);
  const tokenizer::Tokenizer tokenizer(model.reader().metadata());
  CalibrationText written(text_settings(options));
  written.read(tokenizer, model.model().config(), progress);
  const tokenizer::Chunks& chunks = written.chunks();
  calibrate::CollectOptions how = collect_options(options, model, written);
  if (grows(options)) {
    how.more = [&] {
      if (chunks.count() < kMostRounds * written.n_first()) written.write_more(progress);
    };
  }
  CollectedText& text = result.collected.emplace();
  text.order = how.sweep.keep_layers ? "token" : "layer";
  text.n_ctx = chunks.n_ctx();
  text.n_chunks = chunks.count();
  if (progress) progress({.stage = "start", .data = to_json(result)});

  const auto seconds_of_writing = [&] { return written.writing() ? written.writing()->seconds : 0.0; };
  const double written_before = seconds_of_writing();
  const auto begin = std::chrono::steady_clock::now();
  calibrate::CollectResult collected = collect_imatrix(
      model.model(), chunks, how, [&](int64_t first_chunk, int64_t end_chunk, int64_t done, int64_t count) {
        if (!progress) return;
        progress({.stage = "collect",
                  .done = done,
                  .total = count,
                  .unit = how.sweep.keep_layers ? "batches" : "layers",
                  .item = fmt::format("chunks {} to {}", first_chunk + 1, end_chunk)});
      });
  text.writing = written.writing();
  text.conversations = written.conversations();
  text.n_chunks = chunks.count();
  text.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() -
                 (seconds_of_writing() - written_before);
  text.n_passed = collected.n_chunks;
  text.n_tokens = (collected.n_chunks - collected.resumed_chunks) * chunks.n_ctx();
  text.resumed_chunks = collected.resumed_chunks;
  text.resumed_layers = collected.resumed_layers;
  text.broken = broken_chunks(collected, model.model().n_layers());
  text.wanted_expert_tokens = options.min_expert_tokens > 0 ? options.min_expert_tokens : kFewTokens;
  text.coverage = block_coverage(collected.imatrix, text.wanted_expert_tokens);
  return {std::move(collected.imatrix), std::move(collected.progress), written.take_progress()};
}

// Entries that one of two files lacks. Files of one model differ where their collections chose tensors.
void add_differences(const imatrix::Imatrix& ours, const imatrix::Imatrix& theirs, std::vector<plan::Finding>& found) {
  const auto add_missing = [&](const imatrix::Imatrix& in, const imatrix::Imatrix& from) {
    const std::string what =
        fmt::format("entry that {} lacks and {} has; are both of one model?", in.source, from.source);
    for (const auto& [name, entry] : from.entries) {
      if (!in.entries.contains(name)) add(found, plan::Severity::kWarning, what, printable(name));
    }
  };
  add_missing(ours, theirs);
  add_missing(theirs, ours);
}

// A header is enough, so that it can be known before a download.
ImatrixCosts costs(const ImatrixOptions& options) {
  const auto opened = open_source(options.model.model, gguf::ReadMode::kHeader);
  const gguf::Source& reader = *opened;
  const model::ModelConfig config = model::read_config(reader);
  const int64_t n_tokens = options.text.chunks * options.text.ctx_size;
  if (n_tokens == 0) fail("", "--dry-run needs --chunks N");
  const uint64_t sums = result_bytes(reader);
  const schedule::SweepPlan plan = options.sweep.plan(reader, config, sums, options.text.ctx_size);
  const bool by_token = plan.order == schedule::SweepOrder::kToken;
  const uint64_t streams = static_cast<uint64_t>(by_token ? plan.n_batch : n_tokens) *
                           static_cast<uint64_t>(config.hidden_width()) * sizeof(float);
  return {.order = by_token ? "token" : "layer",
          .n_tokens = n_tokens,
          .batch_size = plan.n_batch,
          .weights = reader.total_bytes(),
          .weights_at_a_time = plan.weight_bytes,
          .activations = plan.activation_bytes,
          .sums = sums,
          .streams = streams,
          .scratch = streams > plan.hidden_state_bytes ? streams - plan.hidden_state_bytes : 0,
          .flop_per_token = 2 * measure::token_cost(reader, config).products};
}

void check_options(const ImatrixOptions& options) {
  if (options.text.ppl_stride != 0) fail("", "--ppl-stride: text for importance has no overlap");
  if (options.min_expert_tokens < 0) {
    fail("", "--min-expert-tokens: expected a number from 0, found {}", options.min_expert_tokens);
  }
  if (options.dry_run) return;
  const TextSource source = TextSource::parse(options.text.file);
  if (!options.conversations.given()) {
    refuse_given(options, {"chat_template", "conversations_share"}, "without --conversations");
  }
  if (cluster::are_several(options.ranks)) {
    if (!has_text(options)) fail("", "nothing to share among processes without a text: -f TEXT");
    refuse_own_text(source);
  }
  if (has_text(options)) {
    if (!options.text.file.empty()) {
      refuse_given(options, source.unused(), fmt::format("with -f {}", options.text.file));
    } else {
      refuse_given(options, names_of<WritingOptions>() + names_of<WriterFiles>() + kOfText, "without -f TEXT");
    }
    options.resume.check();
  } else if (!options.in_file.empty()) {
    refuse_others(options, {"in_file", "output_file", "threads"}, "without a text to collect on: -f TEXT");
  }
  if (options.output_file.empty()) fail("", "--output-file is required");
  for (const std::string& path : options.in_file) MappedFile{path};  // a name that is wrong shows before the work
  if (!cluster::leads(options.ranks)) return;
  const std::vector<std::string> inputs = {options.model.model, source.file, options.conversations.conversations,
                                           options.conversations.chat_template};
  check_output(options.output_file, inputs);
  if (!options.resume.resume.empty()) check_output(options.resume.resume, inputs, {options.output_file});
}

}  // namespace

ImatrixResult imatrix(const ImatrixOptions& given, const ProgressCallback& progress) {
  check_options(given);
  ImatrixOptions options = given;
  options.writing = given.writing.chosen(!options.resume.resume.empty());
  ImatrixResult result;
  if (options.dry_run) {
    result.costs = costs(options);
    return result;
  }
  std::optional<Collected> sums;
  if (has_text(options)) {
    if (options.model.model.empty()) fail("", "no model given: -m MODEL");
    sums = collect(options, result, progress);
    if (!cluster::leads(options.ranks)) return result;
  }
  std::vector<plan::Finding> found;
  // Should one of them be no importance, the collection's progress is still there.
  for (const std::string& path : options.in_file) {
    imatrix::Imatrix input = imatrix::Imatrix::load(path);
    if (sums) {
      add_differences(sums->imatrix, input, found);
      sums->imatrix.merge(input);
    } else {
      sums.emplace().imatrix = std::move(input);
    }
  }
  result.findings = described(found);
  if (!sums) fail("", "give -m MODEL -f TEXT to collect, or --in-file FILE to convert or merge");
  sums->imatrix.save(options.output_file);
  sums->progress.remove();
  sums->progress_of_text.remove();
  result.output_file = options.output_file;
  result.n_entries = static_cast<int64_t>(sums->imatrix.entries.size());
  return result;
}

}  // namespace steelyard::jobs

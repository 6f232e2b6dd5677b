// steelyard imatrix: run text through a model and collect importance; or merge and convert importance files.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/sha256.h"
#include "calibrate/collect.h"
#include "command.h"
#include "gguf/fingerprint.h"
#include "imatrix/coverage.h"
#include "measure/speed.h"
#include "model/architecture.h"
#include "order_options.h"

namespace steelyard::tools {
namespace {

struct Options {
  ModelOptions model;
  TextOptions text;
  OrderOptions order;
  ResumeOptions resume;
  std::string output;
  std::vector<std::string> inputs;
  int64_t min_expert_tokens = 0;
  bool process_output = false;
  bool dry_run = false;
};

// Experts with fewer tokens are listed, unless the user gives another number.
constexpr int64_t kFewTokens = 64;

// The sums in F64, and a copy while they are written.
uint64_t result_bytes(const gguf::Reader& reader) {
  uint64_t values = 0;
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    if (tensor.n_dims > 1) values += static_cast<uint64_t>(tensor.ne[0] * tensor.ne[2]);
  }
  return values * (sizeof(double) + sizeof(float));
}

// What must be equal for two runs to give the same bits, and to divide the work into the same steps.
std::string run_identity(const Options& options, const Chunks& chunks, const CollectOptions& how) {
  return sha256(fmt::format("{}\n{}\n{} {} {} {} {} {}\n{}", gguf::fingerprint(options.model.reader()),
                            sha256(std::as_bytes(chunks.tokens())), chunks.n_ctx(), how.round, how.min_expert_tokens,
                            how.with_output, how.sweep.n_batch, how.sweep.keep_layers, options.model.settings()));
}

// Tokens per second; on a terminal the line is rewritten.
class Display {
 public:
  explicit Display(int64_t n_ctx) : n_ctx_(n_ctx) {}

  void show(int64_t begin, int64_t end, int64_t done, int64_t count) {
    if (!interactive()) return;
    const double share = static_cast<double>(done) / static_cast<double>(count);
    fmt::print(stderr, "\r\x1b[Kchunks {} to {}: {:.1f} %, {:.0f} s", begin + 1, end, 100 * share, seconds());
  }
  void finish(int64_t n_chunks) const {
    const auto n_tokens = static_cast<double>(n_chunks * n_ctx_);
    fmt::print("{}{} tokens in {:.1f} s, {:.0f} tokens/s\n", interactive() ? "\r\x1b[K" : "", n_tokens, seconds(),
               n_tokens / seconds());
  }

 private:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  int64_t n_ctx_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void report_broken(const CollectResult& result, int n_layers) {
  for (const auto& [chunk, layer] : result.broken) {
    const std::string place = layer < 0          ? "the token embeddings"
                              : layer < n_layers ? fmt::format("block {}", layer)
                                                 : "what follows the last block";
    fmt::print("chunk {} is left out: {} gives numbers that are not finite\n", chunk + 1, place);
  }
  if (!result.broken.empty()) fmt::print("{} of {} chunks left out\n", result.broken.size(), result.n_chunks);
}

void report_coverage(const Options& options, const Imatrix& imatrix, bool all_text) {
  const int64_t wanted = options.min_expert_tokens > 0 ? options.min_expert_tokens : kFewTokens;
  const std::vector<ExpertCoverage> blocks = expert_coverage(imatrix.entries, wanted);
  if (blocks.empty()) return;
  int64_t below = 0, n_experts = 0;
  for (const ExpertCoverage& block : blocks) {
    n_experts += block.n_expert;
    below += block.below;
    if (block.below == 0) continue;
    fmt::print("{}: {} of {} experts saw fewer than {} tokens, {} of them none; expert {} saw {}, the median {}\n",
               block.block, block.below, block.n_expert, wanted, block.unseen, block.least_expert, block.least,
               block.median);
  }
  if (below == 0) {
    fmt::print("all {} experts of {} blocks saw at least {} tokens\n", n_experts, blocks.size(), wanted);
  } else if (options.min_expert_tokens > 0 && all_text) {
    fmt::print("the text ended before every expert had seen {} tokens\n", wanted);
  }
}

Imatrix collect(Options& options) {
  options.model.open(options.text.n_ctx(), &options.order);
  const Model& model = options.model.model();
  const Tokenizer tokenizer(options.model.reader().metadata());
  // With a minimum per expert, --chunks is the number of chunks between two looks at the coverage.
  const bool go_on = options.min_expert_tokens > 0;
  const Chunks chunks = options.text.chunks(tokenizer, go_on ? 0 : options.text.max_chunks());

  CollectOptions how;
  how.with_output = options.process_output && model.output().name == "output.weight";
  how.dataset = options.text.path();
  how.sweep = options.order.sweep(options.model.reader(), model.config(), result_bytes(options.model.reader()),
                                  chunks.n_ctx(), options.output);
  how.round = go_on ? options.text.max_chunks() : 0;
  how.min_expert_tokens = options.min_expert_tokens;
  how.progress_path = options.resume.path;
  how.save_every = options.resume.save_every();
  if (!options.resume.path.empty()) how.identity = run_identity(options, chunks, how);

  fmt::print("collecting over {}{} chunks of {} tokens, {}\n", go_on ? "up to " : "", chunks.count(), chunks.n_ctx(),
             how.sweep.keep_layers ? "batch by batch" : "layer by layer");
  Display display(chunks.n_ctx());
  const CollectResult result = collect_imatrix(
      model, chunks, how,
      [&](int64_t begin, int64_t end, int64_t done, int64_t count) { display.show(begin, end, done, count); });
  display.finish(result.n_chunks - result.resumed_chunks);
  if (result.resumed_chunks > 0 || result.resumed_layers > 0) {
    fmt::print("went on after {} chunks and {} layers of an earlier run\n", result.resumed_chunks,
               result.resumed_layers);
  }
  report_broken(result, model.n_layers());
  report_coverage(options, result.imatrix, result.n_chunks == chunks.count());
  return result.imatrix;
}

// What collection over --chunks would take. A header is enough, so this can be known before a download.
void show_costs(const Options& options) {
  const gguf::Reader reader(options.model.path(), gguf::Need::kHeader);
  const ModelConfig config = read_config(reader.metadata());
  const int64_t n_tokens = options.text.max_chunks() * options.text.n_ctx();
  if (n_tokens == 0) fail("", "--dry-run needs --chunks N");
  const uint64_t sums = result_bytes(reader);
  const SweepPlan plan = options.order.plan(reader, config, sums, options.text.n_ctx());
  const bool token_major = plan.order == SweepOrder::kToken;
  const uint64_t stream_bytes = static_cast<uint64_t>(token_major ? plan.n_batch : n_tokens) *
                                static_cast<uint64_t>(config.n_embd) * sizeof(float);
  const uint64_t spilled = stream_bytes > plan.stream_bytes ? stream_bytes - plan.stream_bytes : 0;
  const auto gib = [](uint64_t bytes) { return static_cast<double>(bytes) / (uint64_t{1} << 30); };
  fmt::print("{} tokens, {}, {} per batch\n", n_tokens, token_major ? "batch by batch" : "layer by layer",
             plan.n_batch);
  fmt::print("weights      {:8.2f} GiB, {:.2f} GiB at a time\n", gib(reader.total_bytes()), gib(plan.weight_bytes));
  fmt::print("activations  {:8.2f} GiB\n", gib(plan.activation_bytes));
  fmt::print("sums         {:8.2f} GiB\n", gib(sums));
  fmt::print("streams      {:8.2f} GiB, {:.2f} GiB of them in a scratch file\n", gib(stream_bytes), gib(spilled));
  fmt::print("work         {:8.2f} GFLOP per token, {:.2f} PFLOP\n", 2e-9 * token_cost(reader, config).products,
             2e-15 * token_cost(reader, config).products * static_cast<double>(n_tokens));
}

void run_imatrix(Options& options) {
  if (options.dry_run) return show_costs(options);
  if (options.output.empty()) fail("", "--output-file is required");
  check_output(options.output, {options.model.path(), options.text.path()});
  if (!options.resume.path.empty())
    check_output(options.resume.path, {options.model.path(), options.text.path(), options.output});
  std::optional<Imatrix> result;
  if (!options.text.path().empty()) {
    if (options.model.path().empty()) fail("", "collecting over text needs -m MODEL");
    result = collect(options);
  }
  for (const std::string& path : options.inputs) {
    Imatrix input = Imatrix::load(path);
    if (result)
      result->merge(input);
    else
      result = std::move(input);
  }
  if (!result) fail("", "give -m MODEL -f TEXT to collect, or --in-file FILE to convert or merge");
  result->save(options.output);
  fmt::print("wrote {}: {} entries\n", options.output, result->entries.size());
}

}  // namespace

void add_imatrix(CLI::App& app) {
  auto* command = app.add_subcommand("imatrix", "collect importance over text; merge and convert importance files");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command);
  command->get_option("--model")->required(false);
  options->text.add_to(*command);
  options->order.add_to(*command);
  command->add_option("-o,--output-file", options->output, "file to write: .dat for the legacy layout, else GGUF");
  command->add_option("--in-file", options->inputs, "importance files to add; without -f: to merge or convert")
      ->delimiter(',');
  command->add_flag("--process-output", options->process_output, "also collect for output.weight");
  command
      ->add_option("--min-expert-tokens", options->min_expert_tokens,
                   "go on through the text, --chunks at a time, until every expert has seen so many tokens")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--dry-run", options->dry_run, "with -m, -c and --chunks: show what it would take, and end");
  options->resume.add_to(*command);
  command->callback([options] { run_imatrix(*options); });
}

}  // namespace steelyard::tools

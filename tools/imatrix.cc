// steelyard imatrix: run text through a model and collect importance; or merge and convert importance files.
#include "jobs/imatrix.h"

#include "command.h"
#include "options.h"
#include "plan_report.h"
#include "progress_line.h"
#include "sharing.h"

namespace steelyard::tools {
namespace {

std::string order_name(const std::string& order) { return order == "token" ? "batch by batch" : "layer by layer"; }

void print_start(const jobs::CollectedText& text, bool waits_for_experts) {
  print_out("collecting over {}{} chunks of {} tokens, {}\n", waits_for_experts ? "up to " : "", text.n_chunks,
            text.n_ctx, order_name(text.order));
}

void print_coverage(const jobs::CollectedText& text, bool waits_for_experts) {
  int64_t below = 0, n_experts = 0;
  for (const jobs::BlockCoverage& block : text.coverage) {
    n_experts += block.n_expert;
    below += block.below;
    if (block.below == 0) continue;
    print_out("{}: {} of {} experts saw fewer than {} tokens, {} of them none; minimum: expert {} with {}, median {}\n",
              block.block, block.below, block.n_expert, text.wanted_expert_tokens, block.unseen, block.least_expert,
              block.least, block.median);
  }
  if (text.coverage.empty()) return;
  if (below == 0) {
    print_out("all {} experts of {} blocks saw at least {} tokens\n", n_experts, text.coverage.size(),
              text.wanted_expert_tokens);
  } else if (waits_for_experts && text.n_passed == text.n_chunks) {
    print_out("the text ended before every expert had seen {} tokens\n", text.wanted_expert_tokens);
  }
}

void print(const jobs::CollectedText& text, bool waits_for_experts) {
  print_out("{} tokens in {:.1f} s, {:.0f} tokens/s\n", text.n_tokens, text.seconds,
            static_cast<double>(text.n_tokens) / text.seconds);
  if (text.resumed_chunks > 0 || text.resumed_layers > 0) {
    print_out("continued after {} chunks and {} layers of an earlier run\n", text.resumed_chunks, text.resumed_layers);
  }
  if (text.writing) print_writing(*text.writing);
  if (text.conversations) print_conversations(*text.conversations);
  for (const jobs::BrokenChunk& broken : text.broken) {
    print_out("chunk {} is left out: non-finite values in {}\n", broken.chunk + 1, broken.place);
  }
  if (!text.broken.empty()) print_out("{} of {} chunks left out\n", text.broken.size(), text.n_passed);
  print_coverage(text, waits_for_experts);
}

void print(const jobs::ImatrixCosts& costs) {
  const auto gib = [](uint64_t bytes) { return static_cast<double>(bytes) / (uint64_t{1} << 30); };
  print_out("{} tokens, {}, {} per batch\n", costs.n_tokens, order_name(costs.order), costs.batch_size);
  print_out("weights        {:8.2f} GiB, {:.2f} GiB at a time\n", gib(costs.weights), gib(costs.weights_at_a_time));
  print_out("activations    {:8.2f} GiB\n", gib(costs.activations));
  print_out("sums           {:8.2f} GiB\n", gib(costs.sums));
  print_out("hidden states  {:8.2f} GiB, {:.2f} GiB of them in a scratch file\n", gib(costs.streams),
            gib(costs.scratch));
  print_out("work           {:8.2f} GFLOP per token, {:.2f} PFLOP\n", 1e-9 * costs.flop_per_token,
            1e-15 * costs.flop_per_token * static_cast<double>(costs.n_tokens));
}

void run_imatrix(const jobs::ImatrixOptions& options) {
  const bool waits_for_experts = options.min_expert_tokens > 0;
  ProgressLine line;
  const jobs::ImatrixResult result = jobs::imatrix(options, [&](const jobs::Progress& progress) {
    if (progress.stage != "start") return line.show(progress);
    jobs::ImatrixResult known;
    jobs::read_json(progress.data, known, "start");
    print_start(*known.collected, waits_for_experts);
  });
  if (result.costs) return print(*result.costs);
  if (result.collected) print(*result.collected, waits_for_experts);
  write_out(findings_text(result.findings));
  print_out("wrote {}: {} entries\n", result.output_file, result.n_entries);
}

}  // namespace

void add_imatrix(CLI::App& app) {
  auto* command = app.add_subcommand("imatrix",
                                     "collect an importance matrix on a text; merge and convert importance "
                                     "files");
  auto options = std::make_shared<jobs::ImatrixOptions>();
  add_options(*command, options->model);
  command->get_option("--model")->required(false);
  add_options(*command, options->text);
  command->get_option("--file")->description(
      "text file; -: standard input; self: the model writes the text, self:N that many tokens, self+FILE a part of it");
  command->add_option("--own-share", options->own_share, "with -f self+FILE: share of the chunks that the model writes")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  add_options(*command, options->writing);
  add_options(*command, options->files);
  add_options(*command, options->conversations, options->conversations_share);
  add_options(*command, options->sweep);
  command->add_option("-o,--output-file", options->output_file,
                      "output file: .dat for the legacy layout, otherwise "
                      "GGUF");
  command
      ->add_option("--in-file", options->in_file,
                   "importance files to add to the collection; without -f: to merge "
                   "or convert")
      ->delimiter(',');
  command->add_flag("--process-output", options->process_output, "also collect importance for output.weight");
  command
      ->add_option("--min-expert-tokens", options->min_expert_tokens,
                   "continue through the text, --chunks at a time, until every expert has seen this many tokens")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--dry-run", options->dry_run,
                    "with -m, -c and --chunks: show memory and work of a collection, "
                    "and exit");
  add_options(*command, options->resume);
  command->callback([options] {
    options->ranks = sharing();
    run_imatrix(*options);
  });
}

}  // namespace steelyard::tools

// steelyard quantize: model + plan (+ imatrix) → GGUF.
#include <fmt/format.h>

#include "base/error.h"
#include "base/parallel.h"
#include "command.h"
#include "plan/report.h"
#include "quantize/quantize.h"

namespace steelyard::tools {
namespace {

struct Options {
  std::string source, target, type;
  PlanOptions plan;
  std::string imatrix;
  int threads = 0;
  bool dry_run = false;
  bool allow_requantize = false;
};

void run_quantize(const Options& options) {
  if (options.target.empty() && !options.dry_run) fail("", "an output file is needed");
  set_thread_count(options.threads);
  const gguf::Reader source(options.source, options.dry_run ? gguf::Need::kHeader : gguf::Need::kData);
  const std::optional<Imatrix> imatrix = load_imatrix(options.imatrix);
  const Resolution resolution =
      resolve(options.plan.load(options.type), source.tensors(), {.imatrix = imatrix.has_value()});
  const QuantizeJob job{source, resolution, imatrix ? &*imatrix : nullptr, options.allow_requantize};

  fmt::print("{}\n{}", table(resolution), summary(resolution));
  for (const std::string& warning : warnings(resolution)) fmt::print("warning: {}\n", warning);
  check(job);
  if (options.dry_run) return;
  std::fflush(stdout);

  const bool rewrite = interactive();
  const uint64_t bytes = quantize(job, options.target, [&](const Decision& decision, size_t index, size_t count) {
    if (rewrite) fmt::print(stderr, "\r\x1b[K[{}/{}] {}", index + 1, count, printable(decision.tensor->name));
  });
  if (rewrite) fmt::print(stderr, "\r\x1b[K");
  fmt::print("wrote {}: {} bytes, {:.4f} bits per weight\n", options.target, bytes, resolution.bits_per_weight);
}

}  // namespace

void add_quantize(CLI::App& app) {
  auto* command = app.add_subcommand("quantize", "write a model in the types of a plan");
  auto options = std::make_shared<Options>();
  command->add_option("in", options->source, "GGUF model, or the first of its shards")->required();
  command->add_option("out", options->target, "GGUF file to write");
  command->add_option("type", options->type, "one type for all (Q8_0, BF16, ...) or a preset, instead of --plan");
  options->plan.add_to(*command);
  command->add_option("--imatrix", options->imatrix, "importance matrix, GGUF or .dat");
  command->add_option("-t,--threads", options->threads, "threads; all cores by default")->check(CLI::Range(0, kMaxThreads));
  command->add_flag("--dry-run", options->dry_run, "show the decisions, check everything, write nothing");
  command->add_flag("--allow-requantize", options->allow_requantize, "quantize what is quantized already");
  command->callback([options] { run_quantize(*options); });
}

}  // namespace steelyard::tools

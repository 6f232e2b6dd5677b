// steelyard imatrix: run text through a model and collect importance; or merge and convert importance files.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "calibrate/collect.h"
#include "command.h"

namespace steelyard::tools {
namespace {

struct Options {
  ModelOptions model;
  TextOptions text;
  std::string output;
  std::vector<std::string> inputs;
  bool process_output = false;
};

Imatrix collect(Options& options) {
  options.model.open();
  const Tokenizer tokenizer(options.model.reader().metadata());
  const Chunks chunks = options.text.chunks(tokenizer);
  Session session(options.model.model(), chunks.n_ctx());
  const auto start = std::chrono::steady_clock::now();
  fmt::print("collecting over {} chunks of {} tokens\n", chunks.count(), chunks.n_ctx());
  const bool rewrite = interactive();
  Imatrix imatrix = collect_imatrix(session, options.model.backend(), chunks, options.process_output,
                                    options.text.path(), [&](int64_t done, int64_t count) {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    const double rate = static_cast<double>(done * chunks.n_ctx()) / seconds.count();
    if (rewrite) fmt::print(stderr, "\r\x1b[K[{}/{}] {:.0f} tokens/s", done, count, rate);
    if (done == count) fmt::print("{}{} tokens, {:.0f} tokens/s\n", rewrite ? "\r\x1b[K" : "", done * chunks.n_ctx(), rate);
  });
  return imatrix;
}

void run_imatrix(Options& options) {
  check_output(options.output, {options.model.path(), options.text.path()});
  std::optional<Imatrix> result;
  if (!options.text.path().empty()) {
    if (options.model.path().empty()) fail("", "collecting over text needs -m MODEL");
    result = collect(options);
  }
  for (const std::string& path : options.inputs) {
    Imatrix input = Imatrix::load(path);
    if (result) result->merge(input);
    else result = std::move(input);
  }
  if (!result) fail("", "give -m MODEL -f TEXT to collect, or --in-file FILE to convert or merge");
  result->save(options.output);
  int64_t without_data = 0;
  for (const auto& [name, entry] : result->entries) without_data += std::ranges::count(entry.counts, 0);
  fmt::print("wrote {}: {} entries", options.output, result->entries.size());
  if (without_data > 0) fmt::print("; {} expert matrices saw no token", without_data);
  fmt::print("\n");
}

}  // namespace

void add_imatrix(CLI::App& app) {
  auto* command = app.add_subcommand("imatrix", "collect importance over text; merge and convert importance files");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command);
  command->get_option("--model")->required(false);
  options->text.add_to(*command);
  command->add_option("-o,--output-file", options->output, "file to write: .dat for the legacy layout, else GGUF")->required();
  command->add_option("--in-file", options->inputs, "importance files to add; without -f: to merge or convert")
      ->delimiter(',');
  command->add_flag("--process-output", options->process_output, "also collect for output.weight");
  command->callback([options] { run_imatrix(*options); });
}

}  // namespace steelyard::tools

// steelyard perplexity: perplexity of a model on a text, and its divergence from a base model.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "command.h"
#include "evaluate/divergence.h"
#include "evaluate/perplexity.h"

namespace steelyard::tools {
namespace {

struct Options {
  ModelOptions model;
  TextOptions text;
  std::string json, tokens, dump_logits, base;
  bool divergence = false;
};

// One given sequence, evaluated at every position. The file is a JSON array of ids.
std::vector<TokenId> read_ids(const std::string& path) {
  const auto json = nlohmann::json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  if (!json.is_array() || json.empty()) fail(path, "expected a JSON array of token ids");
  std::vector<TokenId> ids;
  for (const auto& id : json) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) fail(path, "element {} is not a token id", ids.size());
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

void evaluate_sequence(Options& options) {
  const Model& model = options.model.model();
  Backend& backend = options.model.backend();
  const std::vector<TokenId> ids = read_ids(options.tokens);
  const auto n = static_cast<int64_t>(ids.size()), n_vocab = model.config().n_vocab;
  Session session(model, n);
  const Matrix residual = session.forward(ids);
  std::optional<AtomicFile> dump;
  if (!options.dump_logits.empty()) dump.emplace(options.dump_logits);
  RunningMean nll;
  constexpr int64_t kRows = 64;
  for (int64_t begin = 0; begin < n; begin += kRows) {
    const int64_t rows = std::min(kRows, n - begin);
    std::vector<float> logits(static_cast<size_t>(rows * n_vocab));
    backend.download(logits.data(), session.logits(residual.slice(begin, rows)).data, logits.size() * sizeof(float));
    if (dump) dump->append(std::as_bytes(std::span(logits)));
    for (int64_t r = 0; r < rows && begin + r + 1 < n; ++r) {
      const auto row = std::span(logits).subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
      const double value = log_normalizer(row).log_sum - row[static_cast<size_t>(ids[begin + r + 1])];
      if (!std::isfinite(value)) fail(options.model.path(), "the logits at position {} are not finite", begin + r);
      nll.add(value);
    }
  }
  if (dump) dump->finish();
  const MeanEstimate mean = nll.estimate();
  fmt::print("{} tokens, PPL = {:.4f} over {} predictions\n", n, std::exp(mean.mean), nll.count());
  if (!options.json.empty()) {
    const nlohmann::ordered_json report = {
        {"model", options.model.path()}, {"n_tokens", n}, {"perplexity", std::exp(mean.mean)}, {"mean_nll", mean.mean}};
    write_file(options.json, report.dump(1) + "\n");
  }
}

// The text's chunks, or those of the base when no text is given.
Chunks choose_chunks(const Options& options, const Tokenizer& tokenizer, const DivergenceBase* base) {
  if (!options.text.path().empty()) return options.text.chunks(tokenizer);
  if (base == nullptr) fail("", "a text is needed: -f FILE");
  std::vector<TokenId> ids = base->tokens();
  if (ids.size() < 2 * static_cast<size_t>(base->n_ctx())) fail(options.base, "holds a single chunk, too little to evaluate");
  return Chunks(std::move(ids), base->n_ctx(), options.text.max_chunks(), chunk_bos(tokenizer), options.base);
}

void print(const PerplexityResult& perplexity, const std::optional<DivergenceResult>& divergence) {
  fmt::print("Final estimate: PPL = {:.4f} +/- {:.5f}\n", perplexity.perplexity, perplexity.standard_error);
  if (!divergence) return;
  fmt::print("Mean KLD: {:.6f} +/- {:.6f}\n", divergence->kld.mean, divergence->kld.standard_error);
  fmt::print("Median KLD: {:.6f}\nMaximum KLD: {:.6f}\n", divergence->median_kld, divergence->max_kld);
  fmt::print("Same top token: {:.3f} +/- {:.3f} %\n", 100 * divergence->same_top.mean,
             100 * divergence->same_top.standard_error);
}

nlohmann::ordered_json to_json(const Options& options, const Chunks& chunks, const PerplexityResult& perplexity,
                               const std::optional<DivergenceResult>& divergence) {
  nlohmann::ordered_json report = {{"model", options.model.path()},
                                   {"text", options.text.path()},
                                   {"n_ctx", chunks.n_ctx()},
                                   {"n_chunks", chunks.count()},
                                   {"n_scored", perplexity.n_tokens},
                                   {"perplexity", perplexity.perplexity},
                                   {"standard_error", perplexity.standard_error},
                                   {"mean_nll", perplexity.mean_nll},
                                   {"running", perplexity.running}};
  if (divergence) {
    report["mean_kld"] = divergence->kld.mean;
    report["mean_kld_standard_error"] = divergence->kld.standard_error;
    report["median_kld"] = divergence->median_kld;
    report["max_kld"] = divergence->max_kld;
    report["same_top"] = divergence->same_top.mean;
  }
  return report;
}

void evaluate_text(Options& options) {
  const Model& model = options.model.model();
  const int64_t n_vocab = model.config().n_vocab;
  const Tokenizer tokenizer(options.model.reader().metadata());
  std::optional<DivergenceBase> base;
  if (options.divergence) base.emplace(options.base);
  const Chunks chunks = choose_chunks(options, tokenizer, base ? &*base : nullptr);
  if (base) base->require(chunks, n_vocab);
  std::optional<DivergenceBaseWriter> base_writer;
  if (!options.base.empty() && !options.divergence) base_writer.emplace(options.base, chunks, n_vocab);

  PerplexityMeter perplexity(chunks);
  std::optional<DivergenceMeter> divergence;
  if (base) divergence.emplace(*base);
  Session session(model, chunks.n_ctx());
  fmt::print("calculating perplexity over {} chunks of {} tokens\n", chunks.count(), chunks.n_ctx());
  size_t shown = 0;
  score_chunks(session, options.model.backend(), chunks, n_vocab, [&](const ScoredLogits& rows) {
    perplexity.add(rows);
    if (base_writer) base_writer->add(rows);
    if (divergence) divergence->add(rows);
    const std::vector<double>& running = perplexity.running();
    for (; shown < running.size(); ++shown) fmt::print("[{}]{:.4f},", shown + 1, running[shown]);
    std::fflush(stdout);
  });
  fmt::print("\n");
  if (base_writer) base_writer->finish();
  const PerplexityResult result = perplexity.result();
  std::optional<DivergenceResult> kld;
  if (divergence) kld = divergence->result();
  print(result, kld);
  if (!options.json.empty()) write_file(options.json, to_json(options, chunks, result, kld).dump(1) + "\n");
}

void run_perplexity(Options& options) {
  if (options.divergence && options.base.empty()) fail("", "--kl-divergence needs --kl-divergence-base FILE");
  if (!options.dump_logits.empty() && options.tokens.empty()) fail("", "--dump-logits needs --tokens FILE");
  if (!options.tokens.empty() && !options.text.path().empty()) fail("", "give a text or --tokens, not both");
  for (const std::string& output : {options.json, options.dump_logits, options.divergence ? "" : options.base}) {
    if (!output.empty()) check_output(output, {options.model.path(), options.text.path(), options.tokens});
  }
  options.model.open();
  if (options.tokens.empty()) evaluate_text(options);
  else evaluate_sequence(options);
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto* command = app.add_subcommand("perplexity", "perplexity on a text, divergence from a base model");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command);
  options->text.add_to(*command);
  command->add_option("--json", options->json, "write the figures here");
  command->add_option("--tokens", options->tokens, "evaluate this one sequence: a JSON array of ids");
  command->add_option("--dump-logits", options->dump_logits, "with --tokens: all logits as little-endian float32");
  command->add_option("--kl-divergence-base", options->base, "base log-probabilities: written, or with --kl-divergence read");
  command->add_flag("--kl-divergence", options->divergence, "measure divergence from the base");
  command->callback([options] { run_perplexity(*options); });
}

}  // namespace steelyard::tools

// steelyard perplexity: perplexity of a model on a text, its divergence from a base model, its noise floor, and scores
// on tasks with several answers. Parses and dispatches; perplexity_report and perplexity_choice print.
#include "evaluate/perplexity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "command.h"
#include "evaluate/divergence.h"
#include "evaluate/evaluation.h"
#include "evaluate/self_check.h"
#include "order_options.h"
#include "perplexity_choice.h"
#include "perplexity_report.h"
#include "schedule/non_finite.h"
#include "schedule/session.h"

namespace steelyard::tools {
namespace {

struct Options {
  ModelOptions model;
  TextOptions text;
  OrderOptions order;
  ChoiceOptions choice;
  std::string json, tokens, dump_logits, base, base_format = "compact";
  ResumeOptions resume;
  bool divergence = false;
  bool self_check = false;
};

void check_context(const Model& model, int64_t n) {
  if (n > model.config().n_context) {
    fail("", "context of {} tokens is longer than the {} that the model was made for", n, model.config().n_context);
  }
}

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
  Backend& backend = model.backend();
  const std::vector<TokenId> ids = read_ids(options.tokens);
  const auto n = static_cast<int64_t>(ids.size()), n_vocab = model.config().n_vocab;
  check_context(model, n);
  Session session(model, n);
  const Matrix residual = session.forward(ids);
  std::optional<AtomicFile> dump;
  if (!options.dump_logits.empty()) dump.emplace(options.dump_logits);
  std::vector<double> nll;
  constexpr int64_t kRows = 64;
  for (int64_t begin = 0; begin < n; begin += kRows) {
    const int64_t rows = std::min(kRows, n - begin);
    std::vector<float> logits(static_cast<size_t>(rows * n_vocab));
    backend.download(logits.data(), session.logits(residual.slice(begin, rows)).data, logits.size() * sizeof(float));
    if (dump) dump->append(std::as_bytes(std::span(logits)));
    for (int64_t r = 0; r < rows && begin + r + 1 < n; ++r) {
      const auto row = std::span(logits).subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
      const double value = log_normalizer(row).log_sum - row[static_cast<size_t>(ids[begin + r + 1])];
      if (!std::isfinite(value)) {
        fail(options.model.path(),
             "the logits at position {} are not finite; the first number that is not comes from {}", begin + r,
             first_non_finite(model, ids));
      }
      nll.push_back(value);
    }
  }
  if (dump) dump->finish();
  const MeanEstimate mean = mean_estimate(nll);
  fmt::print("{} tokens, PPL = {:.4f} over {} predictions\n", n, std::exp(mean.mean), nll.size());
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
  if (ids.size() < 2 * static_cast<size_t>(base->n_ctx()))
    fail(options.base, "holds a single chunk, too little to evaluate");
  return Chunks(std::move(ids), base->n_ctx(), options.text.max_chunks(), chunk_bos(tokenizer), options.base);
}

nlohmann::ordered_json describe(const Options& options, const Chunks& chunks) {
  return {{"model", options.model.path()},
          {"text", options.text.path()},
          {"n_ctx", chunks.n_ctx()},
          {"n_chunks", chunks.count()}};
}

void evaluate_text(Options& options) {
  const Model& model = options.model.model();
  const Tokenizer tokenizer(options.model.reader().metadata());
  const std::unique_ptr<DivergenceBase> base = options.divergence ? DivergenceBase::open(options.base) : nullptr;
  const Chunks chunks = choose_chunks(options, tokenizer, base.get());
  check_context(model, chunks.n_ctx());
  const ModelIdentity identity = model_identity(options.model.reader(), model.config(), tokenizer);
  if (base) base->require(chunks, identity);

  RunningPerplexity running(chunks.n_scored());
  EvaluationOptions how;
  how.sweep = options.order.sweep(options.model.reader(), model.config(), evaluation_bytes(chunks, identity),
                                  chunks.n_ctx(), options.json);
  how.layer_done = [](int64_t done, int64_t count) {
    if (interactive()) fmt::print(stderr, "\r\x1b[Klayer {} of {}", done, count);
  };
  how.settings = options.model.settings();
  how.base_path = options.base;
  how.write_base = !options.base.empty() && !options.divergence;
  how.layout = options.base_format == "llama" ? BaseLayout::kLlama : BaseLayout::kCompact;
  how.progress_path = options.resume.path;
  how.save_every = options.resume.save_every();
  fmt::print("calculating perplexity over {} chunks of {} tokens, {}\n", chunks.count(), chunks.n_ctx(),
             how.sweep.keep_layers ? "batch by batch" : "layer by layer");
  const EvaluationResult result = evaluate(model, identity, chunks, base.get(), how,
                                           [&](std::span<const TokenScore> scores) { running.show(scores); });
  fmt::print("\n");
  if (result.resumed_chunks > 0) fmt::print("went on after {} chunks of an earlier run\n", result.resumed_chunks);
  const PerplexityResult ppl = perplexity(result.scores);
  nlohmann::ordered_json report = describe(options, chunks);
  report.update(to_json(ppl));
  report["running"] = running_perplexity(result.scores, chunks.n_scored());
  print(ppl);
  if (base) {
    const DivergenceResult kld = divergence(result.scores);
    report.update(to_json(kld));
    print(kld);
    if (!result.routers.empty()) report["router_agreement"] = to_json(result.routers, result.experts);
    print(result.routers, result.experts);
  }
  if (!options.json.empty()) write_file(options.json, report.dump(1) + "\n");
}

// The size of the pieces has no common factor with usual batch sizes, so that rows get other neighbours.
void check_self(Options& options) {
  const Model& model = options.model.model();
  const Tokenizer tokenizer(options.model.reader().metadata());
  const Chunks chunks = choose_chunks(options, tokenizer, nullptr);
  check_context(model, chunks.n_ctx());
  const int64_t n_piece = chunks.n_ctx() / 7 + 1;
  fmt::print("the model against itself over {} chunks of {} tokens, as a whole and in pieces of {}\n", chunks.count(),
             chunks.n_ctx(), n_piece);
  RunningPerplexity running(chunks.n_scored());
  const std::vector<TokenScore> scores =
      self_check(model, chunks, n_piece, [&](std::span<const TokenScore> done) { running.show(done); });
  const DivergenceResult floor = divergence(scores);
  fmt::print(
      "\nNoise floor: mean KLD {:.3g} +/- {:.2g}, maximum {:.3g}, 99.9 % below {:.3g}, PPL ratio - 1 {:.3g}, "
      "same top p {:.4f} %\nDivergences near this floor say nothing about a model.\n",
      floor.kld.mean, floor.kld.standard_error, floor.klds.at(1), floor.klds.at(0.999), floor.ratio.mean - 1,
      100 * floor.same_top.mean);
  if (options.json.empty()) return;
  nlohmann::ordered_json report = describe(options, chunks);
  report.update(to_json(perplexity(scores)));
  report.update(to_json(floor));
  write_file(options.json, report.dump(1) + "\n");
}

void run_perplexity(Options& options) {
  const bool choice = options.choice.wanted();
  if (options.divergence && options.base.empty()) fail("", "--kl-divergence needs --kl-divergence-base FILE");
  if (options.text.stride() != 0 && !options.base.empty())
    fail("", "a base has no stride: give --ppl-stride without one");
  if (options.self_check && !options.base.empty()) fail("", "--self-check takes no base");
  if (!options.dump_logits.empty() && options.tokens.empty()) fail("", "--dump-logits needs --tokens FILE");
  if (!options.tokens.empty() && !options.text.path().empty()) fail("", "give a text or --tokens, not both");
  for (const std::string& output :
       {options.json, options.dump_logits, options.resume.path, options.divergence ? "" : options.base}) {
    if (!output.empty())
      check_output(output,
                   {options.model.path(), options.text.path(), options.tokens, options.divergence ? options.base : ""});
  }
  options.model.open(options.text.n_ctx(), &options.order);
  if (choice)
    options.choice.run(options.model, options.text.path(), options.text.n_ctx(), options.order.n_batch(), options.json);
  else if (options.self_check)
    check_self(options);
  else if (options.tokens.empty())
    evaluate_text(options);
  else
    evaluate_sequence(options);
}

}  // namespace

void add_perplexity(CLI::App& app) {
  auto* command = app.add_subcommand("perplexity", "perplexity on a text, divergence from a base model, tasks");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command);
  options->text.add_to(*command);
  command->add_option("--json", options->json, "write the figures here");
  command->add_option("--tokens", options->tokens, "evaluate this one sequence: a JSON array of ids");
  command->add_option("--dump-logits", options->dump_logits, "with --tokens: all logits as little-endian float32");
  options->order.add_to(*command);
  options->text.add_stride_to(*command);
  command->add_option("--kl-divergence-base", options->base,
                      "base log-probabilities: written, or with --kl-divergence read");
  command
      ->add_option("--kl-divergence-base-format", options->base_format,
                   "of a base to write: compact, or llama: llama-perplexity's, ten times as large")
      ->check(CLI::IsMember({"compact", "llama"}))
      ->capture_default_str();
  command->add_flag("--kl-divergence", options->divergence, "measure divergence from the base");
  command->add_flag("--self-check", options->self_check, "the model against itself in other batches: the noise floor");
  options->resume.add_to(*command);
  options->choice.add_to(*command);
  command->callback([options] { run_perplexity(*options); });
}

}  // namespace steelyard::tools

// steelyard run: load a model and continue a prompt greedily, the eyeball check.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "command.h"

namespace steelyard::tools {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt;
  int64_t n_predict = 64;
};

void generate(Options& options) {
  if (options.n_predict < 1) fail("", "-n must be at least 1");
  options.model.open();
  const Model& model = options.model.model();
  const Tokenizer tokenizer(options.model.reader().metadata());
  std::vector<TokenId> ids = tokenizer.encode(options.prompt, /*add_special=*/true, /*parse_special=*/true);
  if (ids.empty()) fail("", "the prompt is empty");
  const auto n_prompt = static_cast<int64_t>(ids.size());
  const int64_t room = model.config().n_context - n_prompt;
  if (room < 1) fail("", "a prompt of {} tokens fills the context of {}", n_prompt, model.config().n_context);
  const int64_t n_predict = std::min(options.n_predict, room);
  Session session(model, n_prompt + n_predict);
  fmt::print("{}", options.prompt);

  std::vector<float> logits(static_cast<size_t>(model.config().n_vocab));
  const auto start = std::chrono::steady_clock::now();
  int64_t n_generated = 0;
  for (; n_generated < n_predict; ++n_generated) {
    const Matrix residual = session.forward(ids);
    const Matrix last = session.logits(residual.slice(residual.rows - 1, 1));
    options.model.backend().download(logits.data(), last.data, logits.size() * sizeof(float));
    const auto best = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
    if (!std::isfinite(logits[static_cast<size_t>(best)])) fail(options.model.path(), "the logits are not finite");
    if (tokenizer.is_end_of_generation(best)) break;
    fmt::print("{}", tokenizer.decode(std::span(&best, 1)));
    std::fflush(stdout);
    ids = {best};
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  fmt::print("\n");
  fmt::print(stderr, "{} prompt tokens, {} generated in {:.2f} s\n", n_prompt, n_generated, seconds.count());
}

}  // namespace

void add_run(CLI::App& app) {
  auto* command = app.add_subcommand("run", "continue a prompt greedily");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command);
  command->add_option("-p,--prompt", options->prompt, "text to continue; special tokens are recognised")->required();
  command->add_option("-n,--n-predict", options->n_predict, "tokens to generate at most")->capture_default_str();
  command->callback([options] { generate(*options); });
}

}  // namespace steelyard::tools

// steelyard bench: tokens per second of a model, beside what the machine could do at best.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/parallel.h"
#include "command.h"
#include "evaluate/speed.h"

namespace steelyard::tools {
namespace {

struct Options {
  ModelOptions model;
  int64_t n_prompt = 512, n_decode = 64;
  int n_rounds = 3;
  std::string json;
};

void run_bench(Options& options) {
  if (options.n_prompt == 0 && options.n_decode == 0) fail("", "-p and -n are both 0: nothing to measure");
  if (!options.json.empty()) check_output(options.json, {options.model.path()});
  options.model.open();
  const Model& model = options.model.model();
  const ModelSpeed speed = measure_speed(model, options.n_prompt, options.n_decode, options.n_rounds);
  const TokenCost cost = token_cost(options.model.reader(), model.config());
  const double bandwidth = measure_bandwidth(), product_rate = measure_product_rate(options.model.backend());
  const double decode_share = speed.decode * cost.bytes / bandwidth;
  const double prefill_share = speed.prefill * cost.products / product_rate;

  fmt::print("{} on {}, {} threads\n", std::filesystem::path(options.model.path()).filename().string(),
             model.backend().name(), omp_get_max_threads());
  if (options.n_prompt > 0) {
    fmt::print("prefill {:4} tokens  {:9.1f} tokens/s  {:5.1f} % of {:.1f} G F32 products/s\n", options.n_prompt,
               speed.prefill, 100 * prefill_share, product_rate * 1e-9);
  }
  if (options.n_decode > 0) {
    fmt::print("decode  {:4} tokens  {:9.1f} tokens/s  {:5.1f} % of {:.1f} GB/s, {:.1f} MB per token\n",
               options.n_decode, speed.decode, 100 * decode_share, bandwidth * 1e-9, cost.bytes * 1e-6);
  }
  if (options.json.empty()) return;
  const nlohmann::ordered_json report = {{"model", options.model.path()},
                                         {"backend", model.backend().name()},
                                         {"threads", omp_get_max_threads()},
                                         {"n_prompt", options.n_prompt},
                                         {"n_decode", options.n_decode},
                                         {"prefill_tokens_per_second", speed.prefill},
                                         {"decode_tokens_per_second", speed.decode},
                                         {"bytes_per_token", cost.bytes},
                                         {"products_per_token", cost.products},
                                         {"bandwidth", bandwidth},
                                         {"f32_products_per_second", product_rate}};
  write_file(options.json, report.dump(1) + "\n");
}

}  // namespace

void add_bench(CLI::App& app) {
  auto* command = app.add_subcommand("bench", "tokens per second");
  auto options = std::make_shared<Options>();
  options->model.add_to(*command);
  command->add_option("-p,--n-prompt", options->n_prompt, "tokens of the prompt; 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-n,--n-gen", options->n_decode, "tokens to decode; 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options->n_rounds, "rounds, of which the best counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_option("--json", options->json, "write the figures here");
  command->callback([options] { run_bench(*options); });
}

}  // namespace steelyard::tools

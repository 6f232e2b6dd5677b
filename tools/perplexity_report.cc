#include "perplexity_report.h"

#include <fmt/format.h>

#include <cstdio>

#include "command.h"

namespace steelyard::tools {
namespace {

struct NamedFraction {
  const char* label;  // as llama-perplexity pads it
  double jobs::Distribution::*value;
};
using Values = jobs::Distribution;
constexpr NamedFraction kFractions[] = {
    {"Maximum", &Values::max}, {"99.9%  ", &Values::p99_9}, {"99.0%  ", &Values::p99},    {"95.0%  ", &Values::p95},
    {"90.0%  ", &Values::p90}, {"75.0%  ", &Values::p75},   {"Median ", &Values::median}, {"25.0%  ", &Values::p25},
    {"10.0%  ", &Values::p10}, {" 5.0%  ", &Values::p5},    {" 1.0%  ", &Values::p1},     {" 0.1%  ", &Values::p0_1},
    {"Minimum", &Values::min}};

void print_estimate(const char* label, const MeanEstimate& value) {
  fmt::print("{}: {:10.6f} ± {:10.6f}\n", label, value.mean, value.standard_error);
}

void print_shares(const char* label, const MeanEstimate& value) {
  fmt::print("{}: {:6.3f} ± {:5.3f} %\n", label, 100 * value.mean, 100 * value.standard_error);
}

void print(const jobs::DivergenceFigures& figures) {
  fmt::print("\n====== Perplexity statistics ======\n");
  print_estimate("Mean PPL(base)                ", figures.base_perplexity);
  fmt::print("Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2f}%\n", 100 * figures.correlation);
  print_estimate("Mean ln(PPL(Q)/PPL(base))     ", figures.log_ratio);
  print_estimate("Mean PPL(Q)/PPL(base)         ", figures.ratio);
  print_estimate("Mean PPL(Q)-PPL(base)         ", figures.difference);

  fmt::print("\n====== KL divergence statistics ======\n");
  fmt::print("Mean KLD: {:.6f} +/- {:.6f}\n", figures.mean_kld.mean, figures.mean_kld.standard_error);
  if (figures.kld_sampling_error > 0) {
    fmt::print("of that error, from the base's sampled tails: {:.2g}\n", figures.kld_sampling_error);
  }
  for (const NamedFraction& named : kFractions) fmt::print("{} KLD: {:10.6f}\n", named.label, figures.kld.*named.value);

  fmt::print("\n====== Token probability statistics ======\n");
  print_shares("Mean    Δp", figures.mean_delta_p);
  for (const NamedFraction& named : kFractions) {
    fmt::print("{} Δp: {:6.3f}%\n", named.label, 100 * (figures.delta_p.*named.value));
  }
  print_shares("RMS Δp    ", figures.rms_delta_p);
  print_shares("Same top p", figures.same_top);
}

void print(const jobs::RouterAgreement& routers) {
  fmt::print("\n====== Router agreement: same set of {} of {} experts, shared experts ======\n", routers.n_used,
             routers.n_expert);
  const auto line = [](const std::string& label, const jobs::Agreement& agreement) {
    fmt::print("{:<9}: {:7.3f} ± {:5.3f} %  {:7.3f} %\n", label, 100 * agreement.same_set.mean,
               100 * agreement.same_set.standard_error, 100 * agreement.overlap);
  };
  for (const jobs::Agreement& layer : routers.layers) line(fmt::format("layer {}", *layer.layer), layer);
  line("all", routers.all);
}

// A line on a terminal that the next one replaces.
void show_line(const std::string& line) {
  if (interactive()) fmt::print(stderr, "\r\x1b[K{}", line);
}

}  // namespace

void show(const jobs::Progress& progress) {
  const jobs::Json& data = progress.data;
  const auto number = [&](const char* name) { return data.at(name).get<int64_t>(); };
  if (progress.stage == "layers") show_line(fmt::format("layer {} of {}", progress.done, progress.total));
  if (progress.stage == "chunks") fmt::print("[{}]{:.4f},", progress.done, data.at("perplexity").get<double>());
  if (progress.stage == "plan" && data.contains("n_piece")) {
    fmt::print("the model against itself over {} chunks of {} tokens, as a whole and in pieces of {}\n",
               number("n_chunks"), number("n_ctx"), number("n_piece"));
  } else if (progress.stage == "plan") {
    fmt::print("calculating perplexity over {} chunks of {} tokens, {}\n", number("n_chunks"), number("n_ctx"),
               data.at("order") == "token" ? "batch by batch" : "layer by layer");
  }
  std::fflush(stdout);
}

void print_text(const jobs::PerplexityResult& result) {
  fmt::print("\n");
  if (result.resumed_chunks > 0) fmt::print("went on after {} chunks of an earlier run\n", result.resumed_chunks);
  fmt::print("Final estimate: PPL = {:.4f} +/- {:.5f}\n", result.perplexity, result.standard_error);
  if (result.divergence) print(*result.divergence);
  if (result.router_agreement) print(*result.router_agreement);
}

void print_sequence(const jobs::PerplexityResult& result) {
  fmt::print("{} tokens, PPL = {:.4f} over {} predictions\n", *result.n_tokens, result.perplexity, result.n_scored);
}

void print_noise_floor(const jobs::PerplexityResult& result) {
  const jobs::DivergenceFigures& floor = *result.divergence;
  fmt::print(
      "\nNoise floor: mean KLD {:.3g} +/- {:.2g}, maximum {:.3g}, 99.9 % below {:.3g}, PPL ratio - 1 {:.3g}, "
      "same top p {:.4f} %\nDivergences near this floor say nothing about a model.\n",
      floor.mean_kld.mean, floor.mean_kld.standard_error, floor.kld.max, floor.kld.p99_9, floor.ratio.mean - 1,
      100 * floor.same_top.mean);
}

void print(const jobs::ChoiceResult& result, const char* name) {
  fmt::print("Final {} score({} tasks): {:.4f} +/- {:.4f}, 95 % interval [{:.4f}, {:.4f}], chance {:.4f}\n", name,
             result.n_tasks, 100 * result.score, 100 * result.standard_error, 100 * result.interval[0],
             100 * result.interval[1], 100 * result.chance);
}

void TaskTable::show(const jobs::Progress& progress) {
  if (progress.done == 0) {
    fmt::print("{} tasks\ntask  correct %  chosen  mean log-likelihoods\n", progress.total);
    return;
  }
  jobs::TaskScore score;
  jobs::read_json(progress.data, score, "");
  n_correct_ += score.correct;
  fmt::print("{:4}  {:9.4f}  {}{}    ", progress.done,
             100.0 * static_cast<double>(n_correct_) / static_cast<double>(progress.done), score.chosen,
             score.correct ? "+" : "-");
  for (const double value : score.log_likelihoods) fmt::print("  {:10.6f}", value);
  fmt::print("\n");
  std::fflush(stdout);
}

}  // namespace steelyard::tools

#include "perplexity_report.h"

#include <fmt/format.h>

#include <cstdio>

#include "command.h"
#include "options.h"
#include "progress_line.h"

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

void print_estimate(const char* label, const evaluate::MeanEstimate& value) {
  print_out("{}: {:10.6f} ± {:10.6f}\n", label, value.mean, value.standard_error);
}

void print_shares(const char* label, const evaluate::MeanEstimate& value) {
  print_out("{}: {:6.3f} ± {:5.3f} %\n", label, 100 * value.mean, 100 * value.standard_error);
}

void print(const jobs::DivergenceFigures& figures) {
  print_out("\n====== Perplexity statistics ======\n");
  print_estimate("Mean PPL(base)                ", figures.base_perplexity);
  print_out("Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2f}%\n", 100 * figures.correlation);
  print_estimate("Mean ln(PPL(Q)/PPL(base))     ", figures.log_ratio);
  print_estimate("Mean PPL(Q)/PPL(base)         ", figures.ratio);
  print_estimate("Mean PPL(Q)-PPL(base)         ", figures.difference);

  print_out("\n====== KL divergence statistics ======\n");
  print_out("Mean KLD: {:.6f} +/- {:.6f}\n", figures.mean_kld.mean, figures.mean_kld.standard_error);
  if (figures.kld_sampling_error > 0) {
    print_out("part of this error due to the base's sampled tails: {:.2g}\n", figures.kld_sampling_error);
  }
  for (const NamedFraction& named : kFractions) print_out("{} KLD: {:10.6f}\n", named.label, figures.kld.*named.value);

  print_out("\n====== Token probability statistics ======\n");
  print_shares("Mean    Δp", figures.mean_delta_p);
  for (const NamedFraction& named : kFractions) {
    print_out("{} Δp: {:6.3f}%\n", named.label, 100 * (figures.delta_p.*named.value));
  }
  print_shares("RMS Δp    ", figures.rms_delta_p);
  print_shares("Same top p", figures.same_top);
}

void print(const jobs::RouterAgreement& routers) {
  print_out("\n====== Router agreement: same set of {} of {} experts, shared experts ======\n", routers.n_used,
            routers.n_expert);
  const auto line = [](const std::string& label, const jobs::Agreement& agreement) {
    print_out("{:<9}: {:7.3f} ± {:5.3f} %  {:7.3f} %\n", label, 100 * agreement.same_set.mean,
              100 * agreement.same_set.standard_error, 100 * agreement.overlap);
  };
  for (const jobs::Agreement& layer : routers.layers) line(fmt::format("layer {}", *layer.layer), layer);
  line("all", routers.all);
}

}  // namespace

void show(const jobs::Progress& progress, ProgressLine& line) {
  const jobs::Json& data = progress.data;
  const auto number = [&](const char* name) { return data.at(name).get<int64_t>(); };
  if (progress.stage == "layers" || progress.stage == "answers") line.show(progress);
  if (progress.stage == "chunks") print_out("[{}]{:.4f},", progress.done, data.at("perplexity").get<double>());
  if (progress.stage == "plan" && data.contains("n_piece")) {
    print_out("the model against itself over {} chunks of {} tokens, as a whole and in pieces of {}\n",
              number("n_chunks"), number("n_ctx"), number("n_piece"));
  } else if (progress.stage == "plan") {
    print_out("calculating perplexity over {} chunks of {} tokens, {}\n", number("n_chunks"), number("n_ctx"),
              data.at("order") == "token" ? "batch by batch" : "layer by layer");
  }
}

void print_conversations(const jobs::PerplexityResult& result) {
  const jobs::ConversationScores& of = *result.conversations;
  print_text(result);
  print_out("\n====== Conversations ======\n");
  print_conversations(of.text);
  if (of.n_cut > 0) print_out("{} are longer than the context and were cut\n", of.n_cut);
  const auto line = [](const std::string& what, const jobs::TokenFigures& figures) {
    print_out("{:<16} {:>8} {:>10.4f}", what, figures.n_tokens, figures.perplexity);
    if (figures.mean_kld) {
      print_out(" {:>11.6f} ± {:<9.6f} {:>7.3f} %", *figures.mean_kld, *figures.mean_kld_standard_error,
                100 * *figures.same_top);
    }
    print_out("\n");
  };
  const char* const columns = result.divergence ? "   mean KLD   standard error  same top" : "";
  print_out("\n{:<16} {:>8} {:>10}{}\n", "written by", "tokens", "PPL", columns);
  for (const jobs::TokenFigures& figures : of.roles) line(figures.role, figures);
  print_out("\n{:<16} {:>8} {:>10}{}\n", "answers, after", "tokens", "PPL", columns);
  for (const jobs::TokenFigures& figures : of.positions) {
    line(fmt::format("{} to {}", figures.first, figures.end - 1), figures);
  }
  if (!of.tool_calls) return;
  const jobs::ToolCallFigures& calls = *of.tool_calls;
  print_out("\nTool calls, greedy: valid in {} of {} answers", calls.n_valid, calls.n_turns);
  if (result.divergence) {
    print_out("; the base's are in {}. Of those the same tools are called in {}, with the same arguments in {}",
              calls.n_base_valid, calls.n_same_names, calls.n_same);
  }
  print_out("\n");
}

void print_text(const jobs::PerplexityResult& result) {
  print_out("\n");
  if (result.resumed_chunks > 0) print_out("continued after {} chunks of an earlier run\n", result.resumed_chunks);
  print_out("Final estimate: PPL = {:.4f} +/- {:.5f}\n", result.perplexity, result.standard_error);
  if (result.divergence) print(*result.divergence);
  if (result.router_agreement) print(*result.router_agreement);
}

void print_sequence(const jobs::PerplexityResult& result) {
  print_out("{} tokens, PPL = {:.4f} over {} predictions\n", *result.n_tokens, result.perplexity, result.n_scored);
}

void print_noise_floor(const jobs::PerplexityResult& result) {
  const jobs::DivergenceFigures& floor = *result.divergence;
  print_out(
      "\nNoise floor: mean KLD {:.3g} +/- {:.2g}, maximum {:.3g}, 99.9 % below {:.3g}, PPL ratio - 1 {:.3g}, "
      "same top p {:.4f} %\nDivergences near this floor say nothing about a model.\n",
      floor.mean_kld.mean, floor.mean_kld.standard_error, floor.kld.max, floor.kld.p99_9, floor.ratio.mean - 1,
      100 * floor.same_top.mean);
}

void print(const jobs::ChoiceResult& result, const char* name) {
  print_out("Final {} score({} tasks): {:.4f} +/- {:.4f}, 95 % interval [{:.4f}, {:.4f}], chance {:.4f}\n", name,
            result.n_tasks, 100 * result.score, 100 * result.standard_error, 100 * result.interval[0],
            100 * result.interval[1], 100 * result.chance);
}

void TaskTable::show(const jobs::Progress& progress) {
  if (progress.done == 0) {
    print_out("{} tasks\ntask  correct %  chosen  mean log-likelihoods\n", progress.total);
    return;
  }
  jobs::TaskScore score;
  jobs::read_json(progress.data, score, "");
  n_correct_ += score.correct;
  print_out("{:4}  {:9.4f}  {}{}    ", progress.done,
            100.0 * static_cast<double>(n_correct_) / static_cast<double>(progress.done), score.chosen,
            score.correct ? "+" : "-");
  for (const double value : score.log_likelihoods) print_out("  {:10.6f}", value);
  print_out("\n");
}

}  // namespace steelyard::tools

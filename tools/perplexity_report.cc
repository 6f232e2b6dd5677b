#include "perplexity_report.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>

namespace steelyard::tools {
namespace {

using Json = nlohmann::ordered_json;

struct NamedFraction {
  const char* label;  // as llama-perplexity pads it
  const char* key;
  double fraction;
};
constexpr NamedFraction kFractions[] = {
    {"Maximum", "max", 1.0},  {"99.9%  ", "p99.9", 0.999}, {"99.0%  ", "p99", 0.99},   {"95.0%  ", "p95", 0.95},
    {"90.0%  ", "p90", 0.90}, {"75.0%  ", "p75", 0.75},    {"Median ", "median", 0.5}, {"25.0%  ", "p25", 0.25},
    {"10.0%  ", "p10", 0.10}, {" 5.0%  ", "p5", 0.05},     {" 1.0%  ", "p1", 0.01},    {" 0.1%  ", "p0.1", 0.001},
    {"Minimum", "min", 0.0}};

RouterCounts total(std::span<const RouterCounts> routers) {
  RouterCounts sum;
  for (const RouterCounts& layer : routers) {
    sum.n_tokens += layer.n_tokens;
    sum.n_same += layer.n_same;
    sum.n_shared += layer.n_shared;
  }
  return sum;
}

void print_estimate(const char* label, const MeanEstimate& value) {
  fmt::print("{}: {:10.6f} ± {:10.6f}\n", label, value.mean, value.standard_error);
}

Json percentiles(const Percentiles& values) {
  Json report;
  for (const NamedFraction& named : kFractions) report[named.key] = values.at(named.fraction);
  return report;
}

void add_estimate(Json& report, const std::string& name, const MeanEstimate& value) {
  report[name] = value.mean;
  report[name + "_standard_error"] = value.standard_error;
}

}  // namespace

void RunningPerplexity::show(std::span<const TokenScore> scores) {
  for (; n_seen_ < scores.size(); ++n_seen_) {
    sum_ += scores[n_seen_].nll;
    const size_t n = n_seen_ + 1;
    if (n % n_scored_ == 0) fmt::print("[{}]{:.4f},", n / n_scored_, std::exp(sum_ / static_cast<double>(n)));
  }
  std::fflush(stdout);
}

void print(const PerplexityResult& result) {
  fmt::print("Final estimate: PPL = {:.4f} +/- {:.5f}\n", result.perplexity, result.standard_error);
}

void print(const DivergenceResult& result) {
  fmt::print("\n====== Perplexity statistics ======\n");
  print_estimate("Mean PPL(base)                ", result.base_perplexity);
  fmt::print("Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2f}%\n", 100 * result.correlation);
  print_estimate("Mean ln(PPL(Q)/PPL(base))     ", result.log_ratio);
  print_estimate("Mean PPL(Q)/PPL(base)         ", result.ratio);
  print_estimate("Mean PPL(Q)-PPL(base)         ", result.difference);

  fmt::print("\n====== KL divergence statistics ======\n");
  fmt::print("Mean KLD: {:.6f} +/- {:.6f}\n", result.kld.mean, result.kld.standard_error);
  if (result.kld_sampling_error > 0) {
    fmt::print("of that error, from the base's sampled tails: {:.2g}\n", result.kld_sampling_error);
  }
  for (const NamedFraction& named : kFractions) {
    fmt::print("{} KLD: {:10.6f}\n", named.label, result.klds.at(named.fraction));
  }

  fmt::print("\n====== Token probability statistics ======\n");
  fmt::print("Mean    Δp: {:6.3f} ± {:5.3f} %\n", 100 * result.delta_p.mean, 100 * result.delta_p.standard_error);
  for (const NamedFraction& named : kFractions) {
    fmt::print("{} Δp: {:6.3f}%\n", named.label, 100 * result.delta_ps.at(named.fraction));
  }
  fmt::print("RMS Δp    : {:6.3f} ± {:5.3f} %\n", 100 * result.rms_delta_p.mean,
             100 * result.rms_delta_p.standard_error);
  fmt::print("Same top p: {:6.3f} ± {:5.3f} %\n", 100 * result.same_top.mean, 100 * result.same_top.standard_error);
}

void print(std::span<const RouterCounts> routers, const ExpertShape& experts) {
  if (routers.empty()) return;
  fmt::print("\n====== Router agreement: same set of {} of {} experts, shared experts ======\n", experts.n_used,
             experts.n_expert);
  const auto line = [&](const std::string& label, const RouterCounts& counts) {
    const MeanEstimate same = counts.same();
    fmt::print("{:<9}: {:7.3f} ± {:5.3f} %  {:7.3f} %\n", label, 100 * same.mean, 100 * same.standard_error,
               100 * counts.overlap(experts.n_used));
  };
  for (size_t i = 0; i < routers.size(); ++i) line(fmt::format("layer {}", experts.layers[i]), routers[i]);
  line("all", total(routers));
}

Json to_json(const PerplexityResult& result) {
  return {{"perplexity", result.perplexity},
          {"standard_error", result.standard_error},
          {"mean_nll", result.mean_nll},
          {"n_scored", result.n_tokens}};
}

Json to_json(const DivergenceResult& result) {
  Json report;
  add_estimate(report, "mean_kld", result.kld);
  report["kld_sampling_error"] = result.kld_sampling_error;
  report["median_kld"] = result.klds.at(0.5);
  report["max_kld"] = result.klds.at(1);
  report["kld"] = percentiles(result.klds);
  add_estimate(report, "base_perplexity", result.base_perplexity);
  add_estimate(report, "log_ratio", result.log_ratio);
  add_estimate(report, "ratio", result.ratio);
  add_estimate(report, "difference", result.difference);
  report["correlation"] = result.correlation;
  add_estimate(report, "mean_delta_p", result.delta_p);
  add_estimate(report, "rms_delta_p", result.rms_delta_p);
  report["delta_p"] = percentiles(result.delta_ps);
  add_estimate(report, "same_top", result.same_top);
  return report;
}

Json to_json(std::span<const RouterCounts> routers, const ExpertShape& experts) {
  const auto entry = [&](const RouterCounts& counts) {
    Json values;
    add_estimate(values, "same_set", counts.same());
    values["overlap"] = counts.overlap(experts.n_used);
    return values;
  };
  Json layers = Json::array();
  for (size_t i = 0; i < routers.size(); ++i) {
    Json values = {{"layer", experts.layers[i]}};
    values.update(entry(routers[i]));
    layers.push_back(values);
  }
  Json report = entry(total(routers));
  report["layers"] = layers;
  return report;
}

}  // namespace steelyard::tools

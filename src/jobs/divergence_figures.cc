#include "jobs/divergence_figures.h"

namespace steelyard::jobs {
namespace {

Distribution distribution(const evaluate::Percentiles& values) {
  return {.max = values.at(1),
          .p99_9 = values.at(0.999),
          .p99 = values.at(0.99),
          .p95 = values.at(0.95),
          .p90 = values.at(0.90),
          .p75 = values.at(0.75),
          .median = values.at(0.5),
          .p25 = values.at(0.25),
          .p10 = values.at(0.10),
          .p5 = values.at(0.05),
          .p1 = values.at(0.01),
          .p0_1 = values.at(0.001),
          .min = values.at(0)};
}

}  // namespace

DivergenceFigures figures(const evaluate::DivergenceResult& result) {
  return {.mean_kld = result.kld,
          .kld_sampling_error = result.kld_sampling_error,
          .kld = distribution(result.klds),
          .base_perplexity = result.base_perplexity,
          .log_ratio = result.log_ratio,
          .ratio = result.ratio,
          .difference = result.difference,
          .correlation = result.correlation,
          .mean_delta_p = result.delta_p,
          .rms_delta_p = result.rms_delta_p,
          .delta_p = distribution(result.delta_ps),
          .same_top = result.same_top};
}

RouterAgreement agreement(std::span<const evaluate::RouterCounts> routers, const evaluate::ExpertShape& experts) {
  const auto of = [&](std::optional<int64_t> layer, const evaluate::RouterCounts& counts) {
    return Agreement{layer, counts.same(), counts.overlap(experts.n_used)};
  };
  RouterAgreement result{.n_used = experts.n_used, .n_expert = experts.n_expert};
  evaluate::RouterCounts sum;
  for (size_t i = 0; i < routers.size(); ++i) {
    result.layers.push_back(of(experts.layers[i], routers[i]));
    sum.n_tokens += routers[i].n_tokens;
    sum.n_same += routers[i].n_same;
    sum.n_shared += routers[i].n_shared;
  }
  result.all = of(std::nullopt, sum);
  return result;
}

}  // namespace steelyard::jobs

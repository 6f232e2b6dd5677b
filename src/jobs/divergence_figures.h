// The figures of a divergence as the result of a job: plain numbers under the names of the JSON report. Labels on paper
// are the command line's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "evaluate/divergence.h"
#include "evaluate/expert_recorder.h"
#include "jobs/json.h"

namespace steelyard::jobs {

/// How a figure is distributed over the tokens.
struct Distribution {
  double max = 0, p99_9 = 0, p99 = 0, p95 = 0, p90 = 0, p75 = 0, median = 0, p25 = 0, p10 = 0, p5 = 0, p1 = 0, p0_1 = 0,
         min = 0;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("max", self.max);
    visit("p99.9", self.p99_9);
    visit("p99", self.p99);
    visit("p95", self.p95);
    visit("p90", self.p90);
    visit("p75", self.p75);
    visit("median", self.median);
    visit("p25", self.p25);
    visit("p10", self.p10);
    visit("p5", self.p5);
    visit("p1", self.p1);
    visit("p0.1", self.p0_1);
    visit("min", self.min);
  }
};

/// What evaluate/divergence.h explains. An estimate is a number and, beside it, its standard error.
struct DivergenceFigures {
  evaluate::MeanEstimate mean_kld;
  double kld_sampling_error = 0;
  Distribution kld;
  evaluate::MeanEstimate base_perplexity, log_ratio, ratio, difference;
  double correlation = 0;
  evaluate::MeanEstimate mean_delta_p, rms_delta_p;
  Distribution delta_p;
  evaluate::MeanEstimate same_top;

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("mean_kld", self.mean_kld.mean);
    visit("mean_kld_standard_error", self.mean_kld.standard_error);
    visit("kld_sampling_error", self.kld_sampling_error);
    visit("median_kld", self.kld.median);
    visit("max_kld", self.kld.max);
    visit("kld", self.kld);
    visit("base_perplexity", self.base_perplexity.mean);
    visit("base_perplexity_standard_error", self.base_perplexity.standard_error);
    visit("log_ratio", self.log_ratio.mean);
    visit("log_ratio_standard_error", self.log_ratio.standard_error);
    visit("ratio", self.ratio.mean);
    visit("ratio_standard_error", self.ratio.standard_error);
    visit("difference", self.difference.mean);
    visit("difference_standard_error", self.difference.standard_error);
    visit("correlation", self.correlation);
    visit("mean_delta_p", self.mean_delta_p.mean);
    visit("mean_delta_p_standard_error", self.mean_delta_p.standard_error);
    visit("rms_delta_p", self.rms_delta_p.mean);
    visit("rms_delta_p_standard_error", self.rms_delta_p.standard_error);
    visit("delta_p", self.delta_p);
    visit("same_top", self.same_top.mean);
    visit("same_top_standard_error", self.same_top.standard_error);
  }
};

DivergenceFigures figures(const evaluate::DivergenceResult& result);

/// How often routers choose the base's experts, in one layer or in all.
struct Agreement {
  std::optional<int64_t> layer;     ///< nothing: over all layers
  evaluate::MeanEstimate same_set;  ///< share of tokens with the same set of experts
  double overlap = 0;               ///< share of the base's experts that are chosen too

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.if_any("layer", self.layer);
    visit("same_set", self.same_set.mean);
    visit("same_set_standard_error", self.same_set.standard_error);
    visit("overlap", self.overlap);
  }
};

struct RouterAgreement {
  Agreement all;
  std::vector<Agreement> layers;
  int64_t n_used = 0, n_expert = 0;  ///< experts per token, of so many; not in the report

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit.group(self.all);
    visit("layers", self.layers);
  }
};

/// `routers`: a count for each of the shape's layers, at least one.
RouterAgreement agreement(std::span<const evaluate::RouterCounts> routers, const evaluate::ExpertShape& experts);

}  // namespace steelyard::jobs

#include "evaluate/divergence.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "evaluate/perplexity.h"

namespace steelyard::evaluate {

DivergenceResult divergence(std::span<const TokenScore> scores) {
  std::vector<double> nll, base_nll, log_ratio, kld, delta_p, squares;
  double variance = 0;
  int64_t same_top = 0;
  for (const TokenScore& score : scores) {
    nll.push_back(score.nll);
    base_nll.push_back(score.base_nll);
    log_ratio.push_back(score.nll - score.base_nll);
    kld.push_back(score.kld);
    delta_p.push_back(std::exp(-score.nll) - std::exp(-score.base_nll));
    squares.push_back(delta_p.back() * delta_p.back());
    variance += score.kld_variance;
    same_top += score.same_top;
  }
  DivergenceResult result;
  result.n_tokens = static_cast<int64_t>(scores.size());
  if (scores.empty()) return result;

  result.kld = mean_estimate(kld);
  result.kld_sampling_error = std::sqrt(variance) / static_cast<double>(scores.size());
  result.klds = Percentiles(std::move(kld));
  result.delta_p = mean_estimate(delta_p);
  result.delta_ps = Percentiles(std::move(delta_p));
  const MeanEstimate mean_square = mean_estimate(squares);
  const double rms = std::sqrt(mean_square.mean);
  result.rms_delta_p = {rms, rms > 0 ? mean_square.standard_error / (2 * rms) : 0.0};

  // First-order propagation: the error of exp(x) is exp(x) times that of x.
  const MeanEstimate base = mean_estimate(base_nll), own = mean_estimate(nll);
  const double covariance = mean_covariance(nll, base_nll);
  const double ppl = std::exp(own.mean), base_ppl = std::exp(base.mean);
  result.base_perplexity = {base_ppl, base_ppl * base.standard_error};
  result.log_ratio = mean_estimate(log_ratio);
  const double ratio = std::exp(result.log_ratio.mean);
  result.ratio = {ratio, ratio * result.log_ratio.standard_error};
  const double a = ppl * own.standard_error, b = base_ppl * base.standard_error;
  result.difference = {ppl - base_ppl, std::sqrt(std::max(0.0, a * a + b * b - 2 * ppl * base_ppl * covariance))};
  const double spread = own.standard_error * base.standard_error;
  result.correlation = spread > 0 ? covariance / spread : 0.0;
  result.same_top = share_estimate(same_top, result.n_tokens);
  return result;
}

}  // namespace steelyard::evaluate

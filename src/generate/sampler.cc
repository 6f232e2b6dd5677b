// See sampler.h.
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/check.h"
#include "base/error.h"

namespace steelyard::generate {

void check(const SamplingOptions& options) {
  const auto require = [](bool holds, const char* what, auto value, const char* range) {
    if (!holds) fail("", "{} is {}, expected {}", what, value, range);
  };
  const auto share = [&](const char* what, double value) { require(value >= 0 && value <= 1, what, value, "0 to 1"); };
  require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature", options.temperature,
          "0 or more");
  require(options.top_k >= 0, "top-k", options.top_k, "0 or more");
  share("top-p", options.top_p);
  share("min-p", options.min_p);
  require(options.repeat_penalty > 0 && std::isfinite(options.repeat_penalty), "repetition penalty",
          options.repeat_penalty, "more than 0");
  require(options.repeat_last_n >= -1, "number of tokens to penalise", options.repeat_last_n, "-1 or more");
}

void penalise(std::span<float> logits, std::span<const tokenizer::TokenId> recent, double penalty) {
  const std::set<tokenizer::TokenId> tokens(recent.begin(), recent.end());
  for (const tokenizer::TokenId id : tokens) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = static_cast<float>(logit > 0 ? logit / penalty : logit * penalty);
  }
}

std::vector<Candidate> top_k(std::span<const float> logits, int64_t k) {
  std::vector<tokenizer::TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [&](tokenizer::TokenId a, tokenizer::TokenId b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t kept = k == 0 ? n : std::min(k, n);
  std::partial_sort(ids.begin(), ids.begin() + kept, ids.end(), before);
  std::vector<Candidate> candidates;
  for (int64_t i = 0; i < kept; ++i) {
    const tokenizer::TokenId id = ids[static_cast<size_t>(i)];
    candidates.push_back({id, logits[static_cast<size_t>(id)]});
  }
  return candidates;
}

std::vector<double> probabilities(std::span<const Candidate> candidates, double temperature) {
  STEELYARD_CHECK(!candidates.empty());
  std::vector<double> result;
  double sum = 0;
  for (const Candidate& candidate : candidates) {
    result.push_back(std::exp((candidate.logit - candidates[0].logit) / temperature));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

void top_p(std::vector<Candidate>& candidates, double p) {
  const std::vector<double> share = probabilities(candidates, 1);
  double sum = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    sum += share[i];
    if (sum >= p) {
      candidates.resize(i + 1);
      return;
    }
  }
}

void min_p(std::vector<Candidate>& candidates, double p) {
  const double least = candidates[0].logit + std::log(p);
  while (candidates.size() > 1 && candidates.back().logit < least) candidates.pop_back();
}

tokenizer::TokenId draw(std::span<const Candidate> candidates, double temperature, double u) {
  const std::vector<double> share = probabilities(candidates, temperature);
  double sum = 0;
  for (size_t i = 0; i < candidates.size(); ++i) {
    sum += share[i];
    if (u < sum) return candidates[i].id;
  }
  return candidates.back().id;  // the shares may add up to a little less than 1
}

tokenizer::TokenId draw(std::span<const float> logits, double temperature, double u) {
  const double largest = *std::ranges::max_element(logits);
  std::vector<double> parts(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += parts[i] = std::exp((logits[i] - largest) / temperature);
  double before = 0;
  size_t last = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == 0.0) continue;
    last = i;
    before += parts[i];
    if (u * sum < before) break;
  }
  return static_cast<tokenizer::TokenId>(last);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) { check(options); }

void Sampler::accept(tokenizer::TokenId id) {
  if (options_.repeat_penalty != 1) recent_.push_back(id);
}

tokenizer::TokenId Sampler::sample(std::span<float> logits) {
  if (options_.repeat_penalty != 1) {
    const size_t n_recent = recent_.size();
    const size_t n =
        options_.repeat_last_n < 0 ? n_recent : std::min(n_recent, static_cast<size_t>(options_.repeat_last_n));
    penalise(logits, std::span(recent_).last(n), options_.repeat_penalty);
  }
  if (options_.temperature == 0)
    return static_cast<tokenizer::TokenId>(std::ranges::max_element(logits) - logits.begin());
  const bool all = options_.top_k == 0 && options_.top_p == 1 && options_.min_p == 0;
  if (all) return draw(logits, options_.temperature, random_.uniform());
  std::vector<Candidate> candidates = top_k(logits, options_.top_k);
  if (options_.top_p < 1) top_p(candidates, options_.top_p);
  if (options_.min_p > 0) min_p(candidates, options_.min_p);
  return draw(candidates, options_.temperature, random_.uniform());
}

}  // namespace steelyard::generate

// Every step of sampling against distributions worked out by hand.
#include "generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "base/error.h"
#include "support.h"

namespace steelyard::generate {
namespace {

std::vector<tokenizer::TokenId> ids(const std::vector<Candidate>& candidates) {
  std::vector<tokenizer::TokenId> result;
  for (const Candidate& candidate : candidates) result.push_back(candidate.id);
  return result;
}

using Ids = std::vector<tokenizer::TokenId>;

// Logits whose softmax is these shares.
std::vector<float> logits_of(const std::vector<double>& shares) {
  std::vector<float> logits;
  for (const double share : shares) logits.push_back(static_cast<float>(std::log(share)));
  return logits;
}

// How often each token comes out of n draws.
std::map<tokenizer::TokenId, int> count(const SamplingOptions& options, const std::vector<float>& logits, int n) {
  Sampler sampler(options);
  std::map<tokenizer::TokenId, int> counts;
  for (int i = 0; i < n; ++i) {
    std::vector<float> copy = logits;
    ++counts[sampler.sample(copy)];
  }
  return counts;
}

TEST(Penalise, DividesWhatIsPositiveMultipliesTheRest) {
  std::vector<float> logits = {2, -2, 0, 3, -3};
  penalise(logits, Ids{0, 1, 2, 0}, 2);  // token 0 is there twice and counts once
  EXPECT_EQ(logits, (std::vector<float>{1, -4, 0, 3, -3}));
}

TEST(TopK, LargestFirstThenLowestId) {
  const std::vector<float> logits = {1, 3, 2, 3, 0};
  EXPECT_EQ(ids(top_k(logits, 1)), (Ids{1}));
  EXPECT_EQ(ids(top_k(logits, 3)), (Ids{1, 3, 2}));
  EXPECT_EQ(ids(top_k(logits, 0)), (Ids{1, 3, 2, 0, 4}));
  EXPECT_EQ(ids(top_k(logits, 99)), (Ids{1, 3, 2, 0, 4}));
  EXPECT_EQ(top_k(logits, 3)[2].logit, 2);
}

TEST(Probabilities, AreASoftmaxAtATemperature) {
  const std::vector<Candidate> candidates = {{0, std::log(8.0)}, {1, std::log(4.0)}, {2, std::log(4.0)}};
  const std::vector<double> plain = probabilities(candidates, 1);
  EXPECT_NEAR(plain[0], 0.5, 1e-12);
  EXPECT_NEAR(plain[1], 0.25, 1e-12);
  const std::vector<double> cold = probabilities(candidates, 0.5);  // squares: 64, 16, 16
  EXPECT_NEAR(cold[0], 64.0 / 96, 1e-12);
  EXPECT_NEAR(cold[2], 16.0 / 96, 1e-12);
  const std::vector<double> hot = probabilities(candidates, 2);  // square roots
  EXPECT_NEAR(hot[0], std::sqrt(8.0) / (std::sqrt(8.0) + 4), 1e-12);
  EXPECT_EQ(probabilities(candidates, 1e-300)[0], 1);
  // Far apart and large: no overflow.
  EXPECT_EQ(probabilities(std::vector<Candidate>{{0, 1e30}, {1, -1e30}}, 1), (std::vector<double>{1, 0}));
}

/// How many of 1/2, 1/4, 1/8 and 1/8 a filter keeps.
size_t kept_by(void (*filter)(std::vector<Candidate>&, double), double p) {
  std::vector<Candidate> candidates = top_k(logits_of({0.5, 0.25, 0.125, 0.125}), 0);
  filter(candidates, p);
  return candidates.size();
}

TEST(TopP, KeepsTheFewestThatReachTheShare) {
  const auto kept = [](double p) { return kept_by(top_p, p); };
  EXPECT_EQ(kept(0), 1u);
  EXPECT_EQ(kept(0.49), 1u);
  EXPECT_EQ(kept(0.51), 2u);
  EXPECT_EQ(kept(0.74), 2u);
  EXPECT_EQ(kept(0.76), 3u);
  EXPECT_EQ(kept(0.9), 4u);
  EXPECT_EQ(kept(1), 4u);
}

TEST(MinP, KeepsWhatHasAShareOfTheFirst) {
  const auto kept = [](double p) { return kept_by(min_p, p); };
  EXPECT_EQ(kept(0.2), 4u);
  EXPECT_EQ(kept(0.3), 2u);
  EXPECT_EQ(kept(0.6), 1u);
  EXPECT_EQ(kept(1), 1u);
}

TEST(Draw, IsTheInverseOfTheCumulativeDistribution) {
  const std::vector<Candidate> candidates = {{7, std::log(2.0)}, {3, 0}, {5, 0}};  // 0.5, 0.25, 0.25
  EXPECT_EQ(draw(candidates, 1, 0), 7);
  EXPECT_EQ(draw(candidates, 1, 0.49), 7);
  EXPECT_EQ(draw(candidates, 1, 0.51), 3);
  EXPECT_EQ(draw(candidates, 1, 0.74), 3);
  EXPECT_EQ(draw(candidates, 1, 0.76), 5);
  EXPECT_EQ(draw(candidates, 1, 1), 5);
}

// Of all tokens: by id, whatever their order by size.
TEST(DrawOfAll, IsTheInverseOfTheCumulativeDistribution) {
  const std::vector<float> logits = logits_of({0.25, 0.5, 0.125, 0.125});
  const auto at = [&](double u) { return draw(logits, 1, u); };
  EXPECT_EQ(at(0), 0);
  EXPECT_EQ(at(0.249), 0);
  EXPECT_EQ(at(0.251), 1);
  EXPECT_EQ(at(0.749), 1);
  EXPECT_EQ(at(0.751), 2);
  EXPECT_EQ(at(0.874), 2);
  EXPECT_EQ(at(0.876), 3);
  EXPECT_EQ(draw(std::vector<float>{5}, 1, 0.999), 0);
  EXPECT_EQ(draw(std::vector<float>{1e30f, -1e30f, 1e30f}, 1, 0.4), 0);  // far apart and large: no overflow
  EXPECT_EQ(draw(std::vector<float>{1e30f, -1e30f, 1e30f}, 1, 0.6), 2);
}

// The token found is the last one whose share has a part below u; nothing behind the end, however u rounds.
TEST(DrawOfAll, TheLargestU) {
  const double largest = std::nextafter(1.0, 0.0);
  for (const size_t n : {1, 2, 3, 7, 100, 1000}) {
    std::vector<float> logits(n);
    for (size_t i = 0; i < n; ++i) logits[i] = 0.37f * static_cast<float>(i % 5);
    EXPECT_EQ(draw(logits, 0.7, largest), static_cast<tokenizer::TokenId>(n) - 1);
    EXPECT_EQ(draw(logits, 0.7, 1), static_cast<tokenizer::TokenId>(n) - 1);
    logits.push_back(-INFINITY);
    logits.push_back(-1e30f);
    EXPECT_EQ(draw(logits, 0.7, largest), static_cast<tokenizer::TokenId>(n) - 1);
  }
}

TEST(DrawOfAll, WhatIsImpossibleNeverComes) {
  const std::vector<float> logits = {-INFINITY, 1, -INFINITY, 2, -INFINITY};
  std::map<tokenizer::TokenId, int> counts;
  for (int i = 0; i <= 1000; ++i) ++counts[draw(logits, 1, i / 1000.0)];
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts[1], 1000 / (1 + std::exp(1)), 2);
}

// As wide a part of [0, 1) leads to each token as the steps over candidates give it.
TEST(DrawOfAll, AgreesWithTheDrawOfCandidates) {
  const std::vector<float> logits = {0.5f, -1, 2, 0.25f, 2, -3, 1};
  for (const double temperature : {0.5, 1.0, 3.0}) {
    const std::vector<Candidate> candidates = top_k(logits, 0);
    const std::vector<double> shares = probabilities(candidates, temperature);
    const int n = 100000;
    std::vector<int> of_all(logits.size()), of_candidates(logits.size());
    for (int i = 0; i < n; ++i) {
      ++of_all[static_cast<size_t>(draw(logits, temperature, (i + 0.5) / n))];
      ++of_candidates[static_cast<size_t>(draw(candidates, temperature, (i + 0.5) / n))];
    }
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto id = static_cast<size_t>(candidates[i].id);
      EXPECT_NEAR(of_all[id], n * shares[i], 1.01);
      EXPECT_NEAR(of_candidates[id], of_all[id], 1.01);
    }
    // Where the ids are in the order of size, both give the same token.
    std::vector<float> sorted = logits;
    std::ranges::sort(sorted, std::greater());
    const std::vector<Candidate> in_order = top_k(sorted, 0);
    for (int i = 0; i < 1000; ++i) {
      const double u = (i + 0.5) / 1000;
      EXPECT_EQ(draw(sorted, temperature, u), draw(in_order, temperature, u));
    }
  }
}

TEST(Sampler, TemperatureZeroTakesTheLikeliest) {
  EXPECT_EQ(count({.temperature = 0}, {1, 3, 2, 3}, 10), (std::map<tokenizer::TokenId, int>{{1, 10}}));
}

TEST(Sampler, DrawsWithTheGivenShares) {
  const std::vector<float> logits = logits_of({0.125, 0.5, 0.125, 0.25});
  const int n = 20000;
  auto counts = count({.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0}, logits, n);
  EXPECT_NEAR(counts[0], n * 0.125, 250);
  EXPECT_NEAR(counts[1], n * 0.5, 350);
  EXPECT_NEAR(counts[2], n * 0.125, 250);
  EXPECT_NEAR(counts[3], n * 0.25, 300);
  counts = count({.temperature = 1, .top_k = 2, .top_p = 1, .min_p = 0}, logits, n);
  EXPECT_NEAR(counts[1], n * 2 / 3, 350);
  EXPECT_EQ(counts[1] + counts[3], n);
}

// Shares are cut before the temperature flattens them.
TEST(Sampler, TemperatureComesLast) {
  const std::vector<float> logits = logits_of({0.6, 0.3, 0.06, 0.04});
  const auto counts = count({.temperature = 100, .top_k = 0, .top_p = 0.8, .min_p = 0}, logits, 1000);
  EXPECT_EQ(counts.size(), 2u);
  EXPECT_NEAR(counts.at(0), 500, 60);
}

TEST(Sampler, PenaltyLooksAtTheLastTokensOnly) {
  const auto next = [](int64_t last_n) {
    Sampler sampler({.temperature = 0, .repeat_penalty = 4, .repeat_last_n = last_n});
    for (const tokenizer::TokenId id : {0, 1, 2}) sampler.accept(id);
    std::vector<float> logits = {4, 3, 2, 1.5};
    return sampler.sample(logits);
  };
  EXPECT_EQ(next(0), 0);
  EXPECT_EQ(next(1), 0);
  EXPECT_EQ(next(2), 0);
  EXPECT_EQ(next(3), 3);
  EXPECT_EQ(next(-1), 3);
  EXPECT_EQ(next(100), 3);
}

TEST(Sampler, SeedDecides) {
  std::vector<float> logits(1000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i % 7) * 0.1f;
  const auto draws = [&](uint64_t seed) {
    Sampler sampler({.top_k = 0, .seed = seed});
    Ids result;
    for (int i = 0; i < 20; ++i) {
      std::vector<float> copy = logits;
      result.push_back(sampler.sample(copy));
    }
    return result;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

TEST(Sampler, OptionsOutOfRange) {
  const auto refused = [](const SamplingOptions& options, const std::string& what) {
    try {
      check(options);
      ADD_FAILURE() << "accepted; expected an error about " << what;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find(what), 0u) << error.what();
    }
  };
  refused({.temperature = -1}, "temperature is -1, expected 0 or more");
  refused({.temperature = NAN}, "temperature");
  refused({.temperature = INFINITY}, "temperature");
  refused({.top_k = -1}, "top-k");
  refused({.top_p = 1.5}, "top-p");
  refused({.min_p = -0.1}, "min-p");
  refused({.repeat_penalty = 0}, "repetition penalty");
  refused({.repeat_last_n = -2}, "number of tokens to penalise");
  EXPECT_NO_THROW(check({}));
}

}  // namespace
}  // namespace steelyard::generate

// Runs candidates through a model, several per batch, and scores their tokens.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "evaluate/choice.h"
#include "evaluate/token_score.h"
#include "schedule/non_finite.h"
#include "schedule/session.h"

namespace steelyard::evaluate {
namespace {

ChoiceScore choose(const ChoiceTask& task, std::vector<double> log_likelihoods) {
  const int64_t chosen = std::ranges::max_element(log_likelihoods) - log_likelihoods.begin();
  return {std::move(log_likelihoods), chosen, task[static_cast<size_t>(chosen)].correct};
}

// Mean log-likelihood of a candidate's tokens, from its rows of hidden states.
double mean_log_likelihood(schedule::Session& session, compute::Backend& backend, const Candidate& candidate,
                           compute::Matrix rows, std::vector<float>& host) {
  constexpr int64_t kRows = 64;
  std::vector<double> values(static_cast<size_t>(candidate.end - candidate.first));
  for (int64_t begin = candidate.first; begin < candidate.end; begin += kRows) {
    const int64_t n = std::min(kRows, candidate.end - begin);
    const compute::Matrix logits = session.logits(rows.slice(begin - 1, n));
    host.resize(static_cast<size_t>(n * logits.cols));
    backend.download(host.data(), logits.data, host.size() * sizeof(float));
    parallel_for(n, 4, [&](int64_t r) {
      const auto x = std::span(host).subspan(static_cast<size_t>(r * logits.cols), static_cast<size_t>(logits.cols));
      const tokenizer::TokenId target = candidate.ids[static_cast<size_t>(begin + r)];
      values[static_cast<size_t>(begin - candidate.first + r)] =
          x[static_cast<size_t>(target)] - log_normalizer(x).log_sum;
    });
  }
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

}  // namespace

void score_choices(const model::Model& model, const std::vector<ChoiceTask>& tasks, int64_t n_ctx, int64_t n_batch,
                   const std::function<void(const ChoiceScore&)>& done) {
  std::vector<const Candidate*> candidates;
  int64_t longest = 1;
  for (size_t t = 0; t < tasks.size(); ++t) {
    for (const Candidate& candidate : tasks[t]) {
      const auto n = static_cast<int64_t>(candidate.ids.size());
      if (n > n_ctx) fail("", "task {} has {} tokens, more than the context of {}", t + 1, n, n_ctx);
      longest = std::max(longest, n);
      candidates.push_back(&candidate);
    }
  }
  compute::Backend& backend = model.backend();
  const int64_t n_together = std::clamp<int64_t>(n_batch / longest, 1, std::ssize(candidates));
  schedule::Session session(model, longest, n_together);
  std::vector<float> host;
  std::vector<double> scores;
  size_t task = 0;
  for (size_t begin = 0; begin < candidates.size(); begin += static_cast<size_t>(n_together)) {
    const size_t end = std::min(candidates.size(), begin + static_cast<size_t>(n_together));
    std::vector<schedule::SequenceTokens> batch;
    for (size_t i = begin; i < end; ++i) batch.push_back({static_cast<int64_t>(i - begin), candidates[i]->ids});
    session.reset();
    const compute::Matrix residual = session.forward_batch(batch);
    int64_t row = 0;
    for (size_t i = begin; i < end; ++i) {
      const auto n = static_cast<int64_t>(candidates[i]->ids.size());
      scores.push_back(mean_log_likelihood(session, backend, *candidates[i], residual.slice(row, n), host));
      row += n;
      if (!std::isfinite(scores.back())) {
        fail("", "task {}: the likelihood of an answer is not finite; the first number that is not comes from {}",
             task + 1, schedule::first_non_finite(model, candidates[i]->ids));
      }
      if (scores.size() < tasks[task].size()) continue;
      done(choose(tasks[task++], std::move(scores)));
      scores.clear();
    }
  }
}

}  // namespace steelyard::evaluate

#include "serve/comparison.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "serve/token_scores.h"

namespace steelyard::serve {
namespace {

constexpr int64_t kBatch = 512;
constexpr int64_t kTop = 5;

double log_sum(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

}  // namespace

double divergence(std::span<const float> p, std::span<const float> q) {
  const double p_sum = log_sum(p), q_sum = log_sum(q);
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double log_p = p[i] - p_sum;
    sum += std::exp(log_p) * (log_p - (q[i] - q_sum));
  }
  return std::max(0.0, sum);
}

Comparison::Comparison(const model::Model& model, const model::Model& base, const tokenizer::Tokenizer& tokenizer,
                       int64_t n_context, int threads)
    : models_{&model, &base},
      tokenizer_(tokenizer),
      n_context_(n_context),
      threads_(threads),
      sessions_{schedule::Session(model, n_context), schedule::Session(base, n_context)} {
  if (model.config().n_vocab == base.config().n_vocab) return;
  fail(base.reader().path(), "has {} tokens, and {} has {}: they cannot be compared", base.config().n_vocab,
       model.reader().path(), model.config().n_vocab);
}

ComparedAnswers Comparison::compare(std::span<const tokenizer::TokenId> prompt, int64_t n) {
  const std::lock_guard lock(mutex_);
  set_thread_count(threads_);
  ComparedAnswers result;
  for (size_t which : {0, 1}) result.answers[which] = compare_at(prompt, answer(which, prompt, n));
  const auto& [a, b] = result.answers;
  const auto [x, y] = std::ranges::mismatch(a, b, {}, &ComparedToken::id, &ComparedToken::id);
  if (x != a.end() || y != b.end()) result.first_difference = x - a.begin();
  return result;
}

std::vector<tokenizer::TokenId> Comparison::answer(size_t which, std::span<const tokenizer::TokenId> prompt,
                                                   int64_t n) {
  schedule::Session& session = sessions_[which];
  session.reset();
  std::vector<tokenizer::TokenId> ids;
  std::vector<float> logits;
  std::span<const tokenizer::TokenId> next = prompt;
  while (true) {
    const compute::Matrix x = session.forward(next.first(std::min<size_t>(next.size(), kBatch)));
    next = next.subspan(static_cast<size_t>(x.rows));
    if (!next.empty()) continue;
    const compute::Matrix last = session.logits(x.slice(x.rows - 1, 1));
    logits.resize(static_cast<size_t>(last.cols));
    models_[which]->backend().download(logits.data(), last.data, logits.size() * sizeof(float));
    ids.push_back(static_cast<tokenizer::TokenId>(std::ranges::max_element(logits) - logits.begin()));
    if (tokenizer_.is_end_of_generation(ids.back()) || std::ssize(ids) == n) return ids;
    next = std::span(ids).last(1);
  }
}

// The logits before each token of an answer, [n_answer, n_vocab].
std::vector<float> Comparison::rows_of(size_t which, std::span<const tokenizer::TokenId> prompt,
                                       std::span<const tokenizer::TokenId> answer) {
  schedule::Session& session = sessions_[which];
  session.reset();
  std::vector<tokenizer::TokenId> text(prompt.begin(), prompt.end());
  text.insert(text.end(), answer.begin(), answer.end() - 1);
  const auto n_vocab = static_cast<size_t>(models_[which]->config().n_vocab);
  std::vector<float> rows(answer.size() * n_vocab);
  const int64_t first = std::ssize(prompt) - 1;  // whose logits are wanted
  for (int64_t begin = 0; begin < std::ssize(text);) {
    const auto part = std::span(text).subspan(static_cast<size_t>(begin));
    const compute::Matrix x = session.forward(part.first(std::min<size_t>(part.size(), kBatch)));
    for (int64_t row = std::max<int64_t>(0, first - begin); row < x.rows; ++row) {
      const compute::Matrix logits = session.logits(x.slice(row, 1));
      models_[which]->backend().download(rows.data() + static_cast<size_t>(begin + row - first) * n_vocab, logits.data,
                                         n_vocab * sizeof(float));
    }
    begin += x.rows;
  }
  return rows;
}

std::vector<ComparedToken> Comparison::compare_at(std::span<const tokenizer::TokenId> prompt,
                                                  std::span<const tokenizer::TokenId> answer) {
  const std::vector<float> rows[2] = {rows_of(0, prompt, answer), rows_of(1, prompt, answer)};
  const size_t n_vocab = rows[0].size() / answer.size();
  std::vector<ComparedToken> tokens(answer.size());
  parallel_for(std::ssize(answer), 1, [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    const auto row = [&](size_t which) { return std::span(rows[which]).subspan(at * n_vocab, n_vocab); };
    ComparedToken& token = tokens[at];
    token.id = answer[at];
    token.divergence = divergence(row(1), row(0));
    for (const size_t which : {0, 1}) token.top[which] = score_token(row(which), token.id, kTop).top;
  });
  return tokens;
}

}  // namespace steelyard::serve

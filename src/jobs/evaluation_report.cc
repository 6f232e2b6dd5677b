#include "jobs/evaluation_report.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "evaluate/divergence.h"

namespace steelyard::jobs {
namespace {

// Tokens before a bad one that are shown.
constexpr int64_t kContext = 20;

// The file's vocabulary may have fewer tokens than the output has rows.
std::string token_text(const tokenizer::Tokenizer& tokenizer, tokenizer::TokenId id) {
  if (id < 0 || id >= tokenizer.n_tokens()) return fmt::format("[{}]", id);
  return tokenizer.decode({&id, 1}, /*special=*/true);
}

// Tokens together, because a character may need several; one that began before is left out.
std::string text_before(const tokenizer::Tokenizer& tokenizer, std::span<const tokenizer::TokenId> ids) {
  std::string text;
  const bool has_all = std::ranges::all_of(ids, [&](auto id) { return id >= 0 && id < tokenizer.n_tokens(); });
  if (has_all) {
    text = tokenizer.decode(ids, /*special=*/true);
  } else {
    for (const tokenizer::TokenId id : ids) text += token_text(tokenizer, id);
  }
  size_t begin = 0;
  while (begin < text.size() && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  return text.substr(begin);
}

report::Choice base_choice(const evaluate::DivergenceBase& base, int64_t chunk, int64_t at,
                           const tokenizer::Tokenizer& tokenizer) {
  std::vector<int32_t> tokens(static_cast<size_t>(base.n_targets()));
  std::vector<float> probs(tokens.size());
  base.target(chunk, at, tokens, probs);
  size_t best = 0;
  for (size_t i = 1; i < tokens.size(); ++i) {
    if (tokens[i] >= 0 && probs[i] > probs[best]) best = i;
  }
  return {token_text(tokenizer, tokens[best]), probs[best]};
}

report::Estimate estimate(const evaluate::MeanEstimate& of) { return {of.mean, of.standard_error}; }

}  // namespace

void WorstTokens::see(const evaluate::ScoredLogits& rows, std::span<const evaluate::TokenScore> scores) {
  for (size_t r = 0; r < scores.size(); ++r) {
    const double kld = scores[r].kld;
    if (seen_.size() == kMost && !(kld > seen_.back().kld)) continue;
    const std::span<const float> x = rows.row(static_cast<int64_t>(r));
    const evaluate::LogNormalizer normalizer = evaluate::log_normalizer(x);
    const size_t index = static_cast<size_t>(rows.chunk * n_scored_ + rows.first) + r;
    const double probability = std::exp(x[static_cast<size_t>(normalizer.argmax)] - normalizer.log_sum);
    const auto place = std::ranges::upper_bound(seen_, kld, std::greater<>(), &Seen::kld);
    seen_.insert(place, {index, kld, static_cast<tokenizer::TokenId>(normalizer.argmax), probability});
    if (seen_.size() > kMost) seen_.pop_back();
  }
}

const WorstTokens::Seen* WorstTokens::find(size_t index) const {
  const auto found = std::ranges::find(seen_, index, &Seen::index);
  return found == seen_.end() ? nullptr : &*found;
}

report::DivergenceDetails divergence_details(const evaluate::EvaluationResult& evaluated,
                                             const tokenizer::Chunks& chunks, const evaluate::DivergenceBase& base,
                                             const tokenizer::Tokenizer& tokenizer, const WorstTokens& worst) {
  const std::vector<evaluate::TokenScore>& scores = evaluated.scores;
  const evaluate::DivergenceResult divergence = evaluate::divergence(scores);
  report::DivergenceDetails details{.mean_kld = estimate(divergence.kld), .same_top = estimate(divergence.same_top)};
  details.percentiles = {{"median", divergence.klds.at(0.5)},   {"90 %", divergence.klds.at(0.9)},
                         {"95 %", divergence.klds.at(0.95)},    {"99 %", divergence.klds.at(0.99)},
                         {"99.9 %", divergence.klds.at(0.999)}, {"largest", divergence.klds.at(1)}};
  const auto n = static_cast<size_t>(chunks.n_scored());
  for (size_t begin = 0; begin + n <= scores.size(); begin += n) {
    double sum = 0;
    for (size_t i = begin; i < begin + n; ++i) sum += scores[i].kld;
    details.kld_by_chunk.push_back(sum / static_cast<double>(n));
  }

  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t most = std::min(WorstTokens::kMost, order.size());
  std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(most), [&](size_t a, size_t b) {
    return scores[a].kld != scores[b].kld ? scores[a].kld > scores[b].kld : a < b;
  });
  for (const size_t index : std::span(order).first(most)) {
    const evaluate::TokenScore& score = scores[index];
    if (!(score.kld > 0)) break;
    const auto chunk = static_cast<int64_t>(index / n), at = static_cast<int64_t>(index % n);
    const int64_t position = chunks.first_scored() + at + 1;  // of the token that is predicted
    const std::vector<tokenizer::TokenId> ids = chunks.input(chunk);
    const int64_t begin = std::max<int64_t>(0, position - kContext);
    report::WorstToken token{.chunk = chunk, .position = position, .kld = score.kld};
    token.before = text_before(
        tokenizer, std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(position - begin)));
    token.token = token_text(tokenizer, chunks.targets(chunk)[static_cast<size_t>(at)]);
    token.base_probability = std::exp(-score.base_nll);
    token.probability = std::exp(-score.nll);
    token.base_choice = base_choice(base, chunk, at, tokenizer);
    if (const WorstTokens::Seen* seen = worst.find(index))
      token.choice = report::Choice{token_text(tokenizer, seen->top), seen->probability};
    details.worst.push_back(std::move(token));
  }

  if (!evaluated.routers.empty()) {
    const RouterAgreement agreed = agreement(evaluated.routers, evaluated.experts);
    report::Routers& routers = details.routers.emplace();
    routers = {agreed.n_used, agreed.n_expert, agreed.all.same_set.mean, agreed.all.overlap, {}};
    for (const Agreement& layer : agreed.layers)
      routers.layers.push_back({layer.layer.value_or(0), layer.same_set.mean, layer.overlap});
  }
  return details;
}

std::string perplexity_page(const PerplexityOptions& options, const PerplexityResult& result,
                            const evaluate::EvaluationResult& evaluated,
                            std::optional<report::DivergenceDetails> details) {
  report::EvaluationPage page{.model = options.model.model,
                              .text = options.text.file,
                              .n_ctx = result.n_ctx,
                              .n_chunks = result.n_chunks,
                              .n_scored = result.n_scored,
                              .perplexity = {result.perplexity, result.standard_error},
                              .running = result.running};
  if (details) {
    page.base = options.kl_divergence_base;
    page.base_perplexity = estimate(result.divergence->base_perplexity);
    page.ratio = estimate(result.divergence->ratio);
    const size_t n_scored = evaluated.scores.size() / static_cast<size_t>(result.n_chunks);
    double sum = 0;
    for (size_t i = 0; i < evaluated.scores.size(); ++i) {
      sum += evaluated.scores[i].base_nll;
      if ((i + 1) % n_scored == 0) page.base_running.push_back(std::exp(sum / static_cast<double>(i + 1)));
    }
    page.divergence = std::move(details);
  }
  return report::evaluation_page(page);
}

}  // namespace steelyard::jobs

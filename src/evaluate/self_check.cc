#include "evaluate/self_check.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/parallel.h"
#include "schedule/non_finite.h"
#include "schedule/session.h"

namespace steelyard::evaluate {
namespace {

TokenScore compare_rows(std::span<const float> base, std::span<const float> x, tokenizer::TokenId target) {
  const LogNormalizer p = log_normalizer(base), q = log_normalizer(x);
  const auto at = static_cast<size_t>(target);
  TokenScore score{.nll = q.log_sum - x[at], .base_nll = p.log_sum - base[at]};
  for (size_t i = 0; i < x.size(); ++i) {
    const double log_p = base[i] - p.log_sum;
    score.kld += std::exp(log_p) * (log_p - (x[i] - q.log_sum));
  }
  score.same_top = p.argmax == q.argmax;
  return score;
}

}  // namespace

std::vector<TokenScore> self_check(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_piece,
                                   const std::function<void(std::span<const TokenScore>)>& progress) {
  compute::Backend& backend = model.backend();
  const int64_t n_vocab = model.config().n_vocab, width = model.config().hidden_width(), n_ctx = chunks.n_ctx();
  schedule::Session session(model, n_ctx);
  const compute::Buffer memory = backend.allocate(static_cast<size_t>(n_ctx * width) * sizeof(float));
  const compute::Matrix pieces{reinterpret_cast<float*>(memory.get()), n_ctx, width, width};
  constexpr int64_t kValues = int64_t{1} << 23;  // of logits at a time, for each side
  const int64_t rows_at_once = std::clamp<int64_t>(kValues / n_vocab, 1, chunks.n_scored());
  std::vector<float> base(static_cast<size_t>(rows_at_once * n_vocab)), whole(base.size());
  std::vector<TokenScore> scores;
  for (int64_t c = 0; c < chunks.count(); ++c) {
    const std::vector<tokenizer::TokenId> ids = chunks.input(c);
    session.reset();
    for (int64_t begin = 0; begin < n_ctx; begin += n_piece) {
      const int64_t n = std::min(n_piece, n_ctx - begin);
      const auto piece = std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(n));
      backend.copy(session.forward(piece), pieces.slice(begin, n));
    }
    session.reset();
    const compute::Matrix residual = session.forward(ids);
    for (int64_t first = 0; first < chunks.n_scored(); first += rows_at_once) {
      const int64_t n = std::min(rows_at_once, chunks.n_scored() - first), at = chunks.first_scored() + first;
      const size_t bytes = static_cast<size_t>(n * n_vocab) * sizeof(float);
      backend.download(base.data(), session.logits(pieces.slice(at, n)).data, bytes);
      backend.download(whole.data(), session.logits(residual.slice(at, n)).data, bytes);
      const size_t done = scores.size();
      scores.resize(done + static_cast<size_t>(n));
      parallel_for(n, 4, [&](int64_t r) {
        const auto row = [&](const std::vector<float>& values) {
          return std::span(values).subspan(static_cast<size_t>(r * n_vocab), static_cast<size_t>(n_vocab));
        };
        const tokenizer::TokenId target = chunks.targets(c)[static_cast<size_t>(first + r)];
        scores[done + static_cast<size_t>(r)] = compare_rows(row(base), row(whole), target);
      });
      for (size_t r = done; r < scores.size(); ++r) {
        if (std::isfinite(scores[r].nll) && std::isfinite(scores[r].kld)) continue;
        fail("", "chunk {}: the likelihood at position {} is not finite; the first number that is not comes from {}",
             c + 1, at + static_cast<int64_t>(r - done), schedule::first_non_finite(model, ids));
      }
      progress(scores);
    }
  }
  return scores;
}

}  // namespace steelyard::evaluate

#include "evaluate/score.h"

#include <algorithm>
#include <vector>

namespace steelyard {

void score_chunks(Session& session, Backend& backend, const Chunks& chunks, int64_t n_vocab,
                  const std::function<void(const ScoredLogits&)>& visit) {
  constexpr int64_t kValues = int64_t{1} << 24;  // 64 MiB of logits at a time
  const int64_t rows_at_once = std::clamp<int64_t>(kValues / n_vocab, 1, chunks.n_scored());
  std::vector<float> host(static_cast<size_t>(rows_at_once * n_vocab));
  for (int64_t c = 0; c < chunks.count(); ++c) {
    session.reset();
    const Matrix residual = session.forward(chunks.input(c));
    for (int64_t first = 0; first < chunks.n_scored(); first += rows_at_once) {
      const int64_t n = std::min(rows_at_once, chunks.n_scored() - first);
      const Matrix logits = session.logits(residual.slice(chunks.first_scored() + first, n));
      backend.download(host.data(), logits.data, static_cast<size_t>(n * n_vocab) * sizeof(float));
      visit({c, first, n, n_vocab, std::span<const float>(host).first(static_cast<size_t>(n * n_vocab))});
    }
  }
}

}  // namespace steelyard

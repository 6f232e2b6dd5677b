#include "evaluate/score.h"

#include <algorithm>
#include <vector>

namespace steelyard {
namespace {

// One run of score_chunks: what its steps share.
class Scorer {
 public:
  Scorer(Session& session, Backend& backend, const Chunks& chunks, int64_t n_vocab, ExpertRecorder* recorder,
         const std::function<void(const ScoredLogits&)>& visit)
      : session_(session), backend_(backend), chunks_(chunks), n_vocab_(n_vocab), recorder_(recorder), visit_(visit) {
    constexpr int64_t kValues = int64_t{1} << 24;  // 64 MiB of logits at a time
    rows_at_once_ = std::clamp<int64_t>(kValues / n_vocab, 1, chunks.n_scored());
    host_.resize(static_cast<size_t>(rows_at_once_ * n_vocab));
  }

  // Chunks [first, first + n) in one batch.
  void whole_chunks(int64_t first, int64_t n) {
    std::vector<std::vector<TokenId>> ids;
    std::vector<SequenceTokens> batch;
    for (int64_t i = 0; i < n; ++i) ids.push_back(chunks_.input(first + i));
    for (int64_t i = 0; i < n; ++i) batch.push_back({i, ids[static_cast<size_t>(i)]});
    session_.reset();
    const Matrix residual = session_.forward_batch(batch);
    for (int64_t i = 0; i < n; ++i) hand_out(first + i, residual, i * chunks_.n_ctx(), 0, chunks_.n_ctx());
  }

  // One chunk, n tokens at a time.
  void in_pieces(int64_t chunk, int64_t n) {
    const std::vector<TokenId> ids = chunks_.input(chunk);
    session_.reset();
    for (int64_t begin = 0; begin < chunks_.n_ctx(); begin += n) {
      const int64_t rows = std::min(n, chunks_.n_ctx() - begin);
      const Matrix residual =
          session_.forward(std::span(ids).subspan(static_cast<size_t>(begin), static_cast<size_t>(rows)));
      hand_out(chunk, residual, 0, begin, rows);
    }
  }

 private:
  // Rows [row, row + n) of the residual stream are positions [position, position + n) of a chunk.
  void hand_out(int64_t chunk, Matrix residual, int64_t row, int64_t position, int64_t n) {
    const int64_t begin = std::max(position, chunks_.first_scored());
    const int64_t end = std::min(position + n, chunks_.first_scored() + chunks_.n_scored());
    for (int64_t at = begin; at < end; at += rows_at_once_) {
      const int64_t rows = std::min(rows_at_once_, end - at), batch_row = row + at - position;
      const auto n_values = static_cast<size_t>(rows * n_vocab_);
      const Matrix logits = session_.logits(residual.slice(batch_row, rows));
      backend_.download(host_.data(), logits.data, n_values * sizeof(float));
      const int64_t first = at - chunks_.first_scored();
      const auto targets = chunks_.targets(chunk).subspan(static_cast<size_t>(first), static_cast<size_t>(rows));
      const auto experts = recorder_ != nullptr ? recorder_->choices(batch_row, rows) : std::span<const uint16_t>();
      visit_({chunk, first, rows, n_vocab_, std::span<const float>(host_).first(n_values), targets, experts});
    }
  }

  Session& session_;
  Backend& backend_;
  const Chunks& chunks_;
  int64_t n_vocab_;
  ExpertRecorder* recorder_;
  const std::function<void(const ScoredLogits&)>& visit_;
  int64_t rows_at_once_;
  std::vector<float> host_;  // [rows_at_once, n_vocab]
};

}  // namespace

int64_t sequences_per_batch(const Chunks& chunks, int64_t n_batch) {
  return std::clamp<int64_t>(n_batch / chunks.n_ctx(), 1, chunks.count());
}

void score_chunks(Session& session, Backend& backend, const Chunks& chunks, int64_t n_vocab,
                  const ScoreOptions& options, const std::function<void(const ScoredLogits&)>& visit) {
  Scorer scorer(session, backend, chunks, n_vocab, options.recorder, visit);
  session.observe(options.recorder);
  const int64_t n_together = sequences_per_batch(chunks, options.n_batch);
  for (int64_t c = options.first_chunk; c < chunks.count(); c += n_together) {
    if (options.n_batch < chunks.n_ctx())
      scorer.in_pieces(c, options.n_batch);
    else
      scorer.whole_chunks(c, std::min(n_together, chunks.count() - c));
  }
  session.observe(nullptr);
}

}  // namespace steelyard

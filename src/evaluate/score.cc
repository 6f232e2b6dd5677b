#include "evaluate/score.h"

#include <algorithm>
#include <vector>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "schedule/non_finite.h"

namespace steelyard::evaluate {
namespace {

int64_t rows_at_once(const tokenizer::Chunks& chunks, int64_t n_vocab) {
  constexpr int64_t kValues = int64_t{1} << 24;  // 64 MiB of logits
  return std::clamp<int64_t>(kValues / n_vocab, 1, chunks.n_scored());
}

// A chunk may hold several texts.
schedule::SweepOptions with_starts(const tokenizer::Chunks& chunks, schedule::SweepOptions options) {
  options.starts = [&chunks](int64_t c) { return chunks.starts(c); };
  return options;
}

// The leader gets what other ranks have recorded of their layers.
void share_choices(cluster::Ranks& ranks, ExpertRecorder& recorder) {
  const auto n_layers = recorder.shape().layers.size();
  if (!ranks.leads()) {
    cluster::Message message;
    ByteWriter out(message);
    for (size_t layer = 0; layer < n_layers; ++layer) {
      const std::vector<uint16_t>& chosen = recorder.of_layer(layer);
      out.number<uint64_t>(chosen.size());
      out.values(std::span<const uint16_t>(chosen));
    }
    return ranks.send(0, cluster::Channel::kShare, std::move(message));
  }
  for (int from = 1; from < ranks.size(); ++from) {
    const cluster::Message message = ranks.receive(from, cluster::Channel::kShare);
    ByteReader in(std::as_bytes(std::span(message)), "a message");
    for (size_t layer = 0; layer < n_layers; ++layer) {
      std::vector<uint16_t> chosen = in.values<uint16_t>(in.number<uint64_t>());
      if (!chosen.empty()) recorder.of_layer(layer) = std::move(chosen);
    }
  }
}

}  // namespace

class ChunkScorer::Impl {
 public:
  Impl(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_vocab, const ScoreOptions& options,
       const std::function<void(const ScoredLogits&)>& visit)
      : model_(model),
        chunks_(chunks),
        n_vocab_(n_vocab),
        options_(options),
        visit_(visit),
        sweep_(
            model, chunks.n_ctx(), [&chunks](int64_t c) { return chunks.input(c); },
            with_starts(chunks, options.sweep)),
        rows_at_once_(rows_at_once(chunks, n_vocab)),
        host_(static_cast<size_t>(rows_at_once_ * n_vocab)) {}

  int64_t window() const { return options_.sweep.keep_layers ? sweep_.chunks_per_batch() : chunks_.count(); }

  void score(int64_t first) {
    const bool token_major = options_.sweep.keep_layers;
    const bool is_relayed = !token_major && cluster::are_several(options_.sweep.ranks);
    sweep_.start(first, std::min(window(), chunks_.count() - first));
    if (options_.recorder != nullptr) options_.recorder->start(first);
    require_finite();
    while (sweep_.next_layer() < model_.n_layers()) {
      // Choices of experts are recorded layer by layer, and each rank has one at a time.
      const int n = options_.recorder != nullptr && !is_relayed ? 1 : sweep_.layers_together(sweep_.next_layer());
      const std::vector<compute::MatmulObserver*> observers(static_cast<size_t>(n), options_.recorder);
      sweep_.run_layers(sweep_.next_layer(), observers);
      if (!is_relayed) require_finite();
      if (!token_major && options_.layer_done) options_.layer_done(sweep_.next_layer(), model_.n_layers());
    }
    if (is_relayed) {
      if (options_.recorder != nullptr) share_choices(*options_.sweep.ranks, *options_.recorder);
      if (!options_.sweep.ranks->leads()) return;
      sweep_.settle();
      require_finite();
    }
    sweep_.visit([&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
      for (const int64_t c : chunks) {
        hand_out(c, x.slice((c - chunks.front()) * chunks_.n_ctx(), chunks_.n_ctx()), c == chunks.back(), ctx);
      }
      return x;
    });
  }

 private:
  // A non-finite likelihood is an error, so no chunk may break.
  void require_finite() const {
    if (sweep_.broken().empty()) return;
    const int64_t chunk = sweep_.broken().front().first;
    fail(options_.path, "chunk {}: the activations are not finite; the first number that is not comes from {}",
         chunk + 1, schedule::first_non_finite(model_, chunks_.input(chunk)));
  }

  // x [n_ctx, hidden_width] is the output of the last layer for a chunk.
  void hand_out(int64_t chunk, compute::Matrix x, bool last_of_batch, model::ForwardContext& ctx) {
    for (int64_t first = 0; first < chunks_.n_scored(); first += rows_at_once_) {
      const int64_t n = std::min(rows_at_once_, chunks_.n_scored() - first);
      const auto n_values = static_cast<size_t>(n * n_vocab_);
      ctx.scratch.reset();
      const compute::Matrix logits = model_.logits(x.slice(chunks_.first_scored() + first, n), ctx);
      ctx.backend.download(host_.data(), logits.data, n_values * sizeof(float));
      const auto targets = chunks_.targets(chunk).subspan(static_cast<size_t>(first), static_cast<size_t>(n));
      ExpertRecorder* const recorder = options_.recorder;
      visit_({chunk, first, n, n_vocab_, std::span<const float>(host_).first(n_values), targets,
              recorder != nullptr ? recorder->choices(chunk, first, n) : std::span<const uint16_t>(),
              last_of_batch && first + n == chunks_.n_scored()});
    }
  }

  const model::Model& model_;
  const tokenizer::Chunks& chunks_;
  int64_t n_vocab_;
  const ScoreOptions& options_;
  const std::function<void(const ScoredLogits&)>& visit_;
  schedule::LayerSweep sweep_;
  int64_t rows_at_once_;
  std::vector<float> host_;  // [rows_at_once, n_vocab]
};

ChunkScorer::ChunkScorer(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_vocab,
                         const ScoreOptions& options, const std::function<void(const ScoredLogits&)>& visit)
    : impl_(std::make_unique<Impl>(model, chunks, n_vocab, options, visit)) {}

ChunkScorer::~ChunkScorer() = default;

int64_t ChunkScorer::window() const { return impl_->window(); }

void ChunkScorer::score(int64_t first) { impl_->score(first); }

uint64_t scoring_bytes(const tokenizer::Chunks& chunks, int64_t n_vocab) {
  return 2 * static_cast<uint64_t>(rows_at_once(chunks, n_vocab) * n_vocab) * sizeof(float);
}

void score_chunks(const model::Model& model, const tokenizer::Chunks& chunks, int64_t n_vocab,
                  const ScoreOptions& options, int64_t first_chunk,
                  const std::function<void(const ScoredLogits&)>& visit) {
  ChunkScorer scorer(model, chunks, n_vocab, options, visit);
  for (int64_t first = first_chunk; first < chunks.count(); first += scorer.window()) scorer.score(first);
}

}  // namespace steelyard::evaluate

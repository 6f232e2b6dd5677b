#include "calibrate/collect.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/error.h"
#include "base/mapped_file.h"
#include "calibrate/chunk_sweep.h"
#include "calibrate/collect_state.h"
#include "calibrate/imatrix_collector.h"
#include "imatrix/coverage.h"
#include "schedule/prediction.h"

namespace steelyard::calibrate {
namespace {

// One run: the sweep, its observer, and its progress.
class Collection {
 public:
  Collection(const model::Model& model, const tokenizer::Chunks& chunks, const CollectOptions& options)
      : model_(model),
        chunks_(chunks),
        options_(options),
        collectors_{ImatrixCollector(options.with_output)},
        sweep_(model, chunks.n_ctx(), ids_of(chunks), options_for(chunks, options.sweep)),
        progress_(open_collect_state(options.progress_path, options.identity)) {}

  CollectResult run(const CollectProgress& progress) {
    const int64_t round = options_.round > 0 ? std::min(options_.round, chunks_.count()) : chunks_.count();
    resume();
    next_save_ = std::chrono::steady_clock::now() + options_.save_every;
    int64_t done = 0;  // chunks
    for (int64_t begin = 0; begin < chunks_.count(); begin += round) {
      const int64_t end = std::min(begin + round, chunks_.count());
      run_round(begin, end, progress);
      done = end;
      if (options_.min_expert_tokens == 0) break;
      // Sums of an earlier run that went beyond this round do not describe it.
      const bool beyond = state_.next_chunk > end || state_.next_layer > 0;
      if (!beyond && enough()) break;
      if (end == chunks_.count() && options_.more) options_.more();
    }
    return finish(done);
  }

 private:
  bool enough() { return least_expert_tokens(entries()) >= options_.min_expert_tokens; }

  void run_round(int64_t begin, int64_t end, const CollectProgress& progress) {
    const int64_t window = options_.sweep.keep_layers ? sweep_.chunks_per_batch() : end - begin;
    const int64_t steps_per_window = model_.n_layers() + 1;
    const int64_t count = (end - begin + window - 1) / window * steps_per_window;
    for (int64_t first = begin, step = 0; first < end; first += window, step += steps_per_window) {
      const int64_t n = std::min(window, end - first);
      if (first + n <= state_.next_chunk) continue;  // done by an earlier run
      state_.window = n;
      if (!restored_) sweep_.start(first, n);
      restored_ = false;
      while (state_.next_layer < model_.n_layers()) {
        sweep_.run_layers(state_.next_layer, observers(sweep_.layers_together(state_.next_layer)));
        state_.next_layer = sweep_.next_layer();
        progress(begin, end, step + state_.next_layer, count);
        save_if_due(/*within_window=*/true);
      }
      after_the_trunk();
      state_.broken.insert(state_.broken.end(), sweep_.broken().begin(), sweep_.broken().end());
      state_.next_chunk = first + n;
      state_.next_layer = 0;
      progress(begin, end, step + steps_per_window, count);
      save_if_due(/*within_window=*/false);
    }
  }

  // For layers that are computed at the same time.
  std::vector<compute::MatmulObserver*> observers(int n) {
    while (static_cast<int>(collectors_.size()) < n) collectors_.push_back(collectors_[0].with_shared_sums());
    std::vector<compute::MatmulObserver*> observers;
    for (int i = 0; i < n; ++i) observers.push_back(&collectors_[static_cast<size_t>(i)]);
    return observers;
  }

  std::map<std::string, imatrix::ImatrixEntry>& entries() { return collectors_[0].entries(); }

  // The head's input is observed without computing logits, because nobody needs them.
  void after_the_trunk() {
    if (options_.with_output) {
      sweep_.visit(
          [&](std::span<const int64_t>, compute::Matrix x, model::ForwardContext& ctx) {
            ctx.scratch.reset();
            ctx.observer->dense(ctx.backend, model_.output(), 0, model_.head_input(x, ctx));
            return x;
          },
          &collectors_[0]);
    }
    if (model_.n_predictions() == 0) return;
    if (!prediction_) prediction_.emplace(model_, chunks_.n_ctx());
    sweep_.visit(
        [&](std::span<const int64_t> chunks, compute::Matrix x, model::ForwardContext& ctx) {
          std::vector<schedule::PredictionBlocks::Chunk> texts;
          for (const int64_t c : chunks) texts.push_back({chunks_.input(c), chunks_.starts(c)});
          return prediction_->run(texts, x, ctx);
        },
        &collectors_[0]);
    if (!options_.sweep.keep_layers) {
      for (int i = 0; i < model_.n_predictions(); ++i) model_.release(model_.n_layers() + i);
    }
  }

  void resume() {
    std::optional<CollectState> earlier = load_collect_state(progress_, sweep_, chunks_.count(), model_.n_layers());
    if (!earlier) return;
    state_ = std::move(*earlier);
    entries() = std::move(state_.entries);
    restored_ = state_.next_layer > 0;
    resumed_ = {state_.next_chunk, state_.next_layer};
  }

  // Within a window the hidden states are saved with the state. A window of one batch is too short for that.
  void save_if_due(bool within_window) {
    const auto begin = std::chrono::steady_clock::now();
    if (!progress_.is_kept() || begin < next_save_) return;
    if (within_window && options_.sweep.keep_layers) return;
    state_.window_broken = within_window ? sweep_.broken() : BrokenChunks();
    save_collect_state(progress_, state_, entries(), within_window ? &sweep_ : nullptr);
    if (options_.save_every.count() == 0) return;
    const auto end = std::chrono::steady_clock::now();
    next_save_ = end + std::max<std::chrono::steady_clock::duration>(options_.save_every, 20 * (end - begin));
  }

  CollectResult finish(int64_t done) {
    const auto n_broken = static_cast<int64_t>(state_.broken.size());
    if (n_broken == done) fail("", "all {} chunks give numbers that are not finite: the model is broken", done);
    // What follows until the result is safe can be interrupted, too.
    save_collect_state(progress_, state_, entries(), nullptr);
    check_mapped_files_unchanged();
    CollectResult result;
    result.imatrix.entries = std::move(entries());
    result.imatrix.datasets = {options_.dataset};
    result.imatrix.chunk_count = done - n_broken;
    result.imatrix.chunk_size = chunks_.n_ctx();
    result.broken = std::move(state_.broken);
    result.n_chunks = done;
    result.resumed_chunks = resumed_.first;
    result.resumed_layers = resumed_.second;
    result.progress = std::move(progress_);
    return result;
  }

  const model::Model& model_;
  const tokenizer::Chunks& chunks_;
  const CollectOptions& options_;
  std::vector<ImatrixCollector> collectors_;  // one for each layer that passes at a time
  schedule::LayerSweep sweep_;
  std::optional<schedule::PredictionBlocks> prediction_;
  ResumeFile progress_;
  CollectState state_;  // its entries are the collectors'
  bool restored_ = false;
  std::pair<int64_t, int> resumed_;  // chunks and layers of an earlier run
  std::chrono::steady_clock::time_point next_save_;
};

}  // namespace

int64_t least_expert_tokens(const std::map<std::string, imatrix::ImatrixEntry>& entries) {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const imatrix::ExpertCoverage& block : expert_coverage(entries, 0)) least = std::min(least, block.least);
  return least;
}

CollectResult collect_imatrix(const model::Model& model, const tokenizer::Chunks& chunks, const CollectOptions& options,
                              const CollectProgress& progress) {
  return Collection(model, chunks, options).run(progress);
}

}  // namespace steelyard::calibrate

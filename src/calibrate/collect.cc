#include "calibrate/collect.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "calibrate/chunk_sweep.h"
#include "calibrate/collect_state.h"
#include "calibrate/imatrix_collector.h"
#include "cluster/deal.h"
#include "imatrix/coverage.h"
#include "schedule/prediction.h"
#include "simd/target.h"

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
        ranks_(cluster::are_several(options.sweep.ranks) ? options.sweep.ranks : nullptr) {
    if (ranks_ != nullptr)
      cluster::expect_equal(*ranks_, options.identity + std::string(simd::target_name(simd::chosen_target())),
                            "model, text, setting or instruction set");
    if (cluster::leads(ranks_)) progress_ = open_collect_state(options.progress_path, options.identity);
  }

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
    if (!cluster::leads(ranks_)) return {};
    return finish(done);
  }

 private:
  bool enough() {
    const bool have = cluster::leads(ranks_) && least_expert_tokens(entries()) >= options_.min_expert_tokens;
    return ranks_ != nullptr ? cluster::broadcast_number(*ranks_, have) != 0 : have;
  }

  void run_round(int64_t begin, int64_t end, const CollectProgress& progress) {
    if (ranks_ != nullptr && options_.sweep.keep_layers) return deal_round(begin, end, progress);
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
        save_layers_if_due();
      }
      if (ranks_ != nullptr) share_entries();
      if (cluster::leads(ranks_)) after_the_trunk();
      sweep_.settle();
      state_.broken.insert(state_.broken.end(), sweep_.broken().begin(), sweep_.broken().end());
      state_.next_chunk = first + n;
      state_.next_layer = 0;
      progress(begin, end, step + steps_per_window, count);
      save_if_due(/*within_window=*/false);
    }
  }

  // Batches of the round by whoever is free; the leader adds their sums in their order, as one process does.
  void deal_round(int64_t begin, int64_t end, const CollectProgress& progress) {
    const int64_t window = sweep_.chunks_per_batch(), n_windows = (end - begin + window - 1) / window;
    const int64_t n_done = std::clamp<int64_t>((state_.next_chunk - begin + window - 1) / window, 0, n_windows);
    const auto first = [&](int64_t item) { return begin + (n_done + item) * window; };
    std::map<std::string, imatrix::ImatrixEntry> sums = std::move(entries());  // the leader's
    entries().clear();
    const auto work = [&](int64_t item) {
      sweep_.start(first(item), std::min(window, end - first(item)));
      while (sweep_.next_layer() < model_.n_layers()) sweep_.run_layers(sweep_.next_layer(), observers(1));
      after_the_trunk();
      cluster::Message message;
      ByteWriter out(message);
      write_broken(out, sweep_.broken());
      write_entries(out, entries());
      entries().clear();
      return message;
    };
    const auto take = [&](int64_t item, const cluster::Message& message) {
      ByteReader in(std::as_bytes(std::span(message)), "a message");
      const BrokenChunks broken = read_broken(in, chunks_.count(), model_.n_layers());
      state_.broken.insert(state_.broken.end(), broken.begin(), broken.end());
      add(read_entries(in), sums);
      state_.next_chunk = std::min(end, first(item) + window);
      progress(begin, end, n_done + item + 1, n_windows);
      entries().swap(sums);
      save_if_due(/*within_window=*/false);
      entries().swap(sums);
    };
    cluster::deal_out(*ranks_, n_windows - n_done, work, take);
    entries() = std::move(sums);
  }

  static void add(std::map<std::string, imatrix::ImatrixEntry> from, std::map<std::string, imatrix::ImatrixEntry>& to) {
    for (auto& [name, entry] : from) {
      const auto [sums, is_new] = to.try_emplace(name);
      if (is_new) {
        sums->second = std::move(entry);
        continue;
      }
      for (size_t i = 0; i < entry.in_sum2.size(); ++i) sums->second.in_sum2[i] += entry.in_sum2[i];
      for (size_t i = 0; i < entry.counts.size(); ++i) sums->second.counts[i] += entry.counts[i];
    }
  }

  // What other ranks have collected of their layers goes to the leader.
  void share_entries() {
    if (!ranks_->leads()) {
      cluster::Message message;
      ByteWriter out(message);
      write_entries(out, entries());
      entries().clear();
      return ranks_->send(0, cluster::Channel::kShare, std::move(message));
    }
    for (int from = 1; from < ranks_->size(); ++from) {
      const cluster::Message message = ranks_->receive(from, cluster::Channel::kShare);
      ByteReader in(std::as_bytes(std::span(message)), "a message");
      add(read_entries(in), entries());
    }
  }

  // The leader decides, and is the first to pass a group of layers: others hear of it without waiting.
  void save_layers_if_due() {
    if (options_.progress_path.empty()) return;
    bool due = cluster::leads(ranks_) && std::chrono::steady_clock::now() >= next_save_;
    if (ranks_ != nullptr) due = cluster::broadcast_number(*ranks_, due) != 0;
    if (!due) return;
    if (ranks_ != nullptr) share_entries();
    if (cluster::leads(ranks_)) save_if_due(/*within_window=*/true);
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
    if (ranks_ != nullptr) share_state(earlier);
    if (!earlier) return;
    state_ = std::move(*earlier);
    entries() = std::move(state_.entries);
    restored_ = state_.next_layer > 0;
    resumed_ = {state_.next_chunk, state_.next_layer};
  }

  // Others need to know where the leader goes on.
  void share_state(std::optional<CollectState>& state) {
    const auto shared = [&](int64_t value) { return cluster::broadcast_number(*ranks_, value); };
    const bool is_there = shared(state.has_value()) != 0;
    if (!is_there) return;
    if (!ranks_->leads()) state.emplace();
    state->next_chunk = shared(state->next_chunk);
    state->next_layer = static_cast<int>(shared(state->next_layer));
    state->window = shared(state->window);
    if (!ranks_->leads() && state->next_layer > 0)
      sweep_.restore(state->next_chunk, state->window, state->next_layer, {}, nullptr);
  }

  // Within a window the hidden states are saved with the state. A window of one batch is too short for that.
  void save_if_due(bool within_window) {
    const auto begin = std::chrono::steady_clock::now();
    if (!progress_.is_kept() || begin < next_save_) return;
    if (within_window && options_.sweep.keep_layers) return;
    sweep_.settle();
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
  cluster::Ranks* ranks_;  // null: none but this one
  ResumeFile progress_;    // the leader's
  CollectState state_;     // its entries are the collectors'
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

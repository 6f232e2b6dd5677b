// Token-major iteration: a model whose layers are all bound, with caches, that tokens are appended to. What generation,
// tasks, and measurements of speed run.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "model/model.h"
#include "schedule/device_contexts.h"

namespace steelyard::schedule {

/// Tokens that continue one of a session's sequences.
struct SequenceTokens {
  int64_t sequence;
  std::span<const int32_t> ids;
};

/// Token-major iteration: all layers bound, one batch after the other through all of them. A session has one or several
/// sequences, which are independent of each other and may share a batch.
class Session {
 public:
  /// Room for n_context positions in each of n_sequences sequences. Error, before anything is loaded, when the
  /// backend's memory is too small for it. n_text: sequences are the beginnings of texts of so many tokens, up to
  /// n_context, which longrope goes by.
  Session(const model::Model& model, int64_t n_context, int64_t n_sequences = 1, int64_t n_text = 0);

  /// Observes every product from now on; null: no observer.
  void observe(compute::MatmulObserver* observer) { observer_ = observer; }

  int64_t n_sequences() const { return static_cast<int64_t>(ids_.size()); }
  /// Positions used so far; reset() forgets them, in all sequences.
  int64_t position(int64_t sequence = 0) const { return static_cast<int64_t>(ids(sequence).size()); }
  /// The ids since the last reset(): the input of first_non_finite() when logits are broken.
  const std::vector<int32_t>& ids(int64_t sequence = 0) const { return ids_.at(static_cast<size_t>(sequence)); }
  void reset() {
    std::ranges::for_each(ids_, [](std::vector<int32_t>& ids) { ids.clear(); });
  }
  void reset(int64_t sequence) { ids_.at(static_cast<size_t>(sequence)).clear(); }

  /// Appends ids to sequence 0; as forward_batch.
  compute::Matrix forward(std::span<const int32_t> ids);
  /// Appends ids to one or more different sequences, whose rows follow each other in the result. Returns the hidden
  /// states after the last layer [n_ids, hidden_width], valid until the next call. Error when the context is full or an
  /// id exceeds the vocabulary. Where a text grows beyond longrope's original context, its angles change, and what the
  /// caches hold of it is computed again: as if the text had been given as a whole.
  compute::Matrix forward_batch(std::span<const SequenceTokens> batch);
  /// The same for one id of each sequence, where on the CPU every row is computed as if it were the only one of its
  /// batch: bit for bit what forward() gives a sequence that grows by one.
  compute::Matrix forward_alone(std::span<const SequenceTokens> batch);

  /// Logits of (a slice of) the hidden states, valid until the next call of forward or logits.
  compute::Matrix logits(compute::Matrix x);
  /// Logits of rows that are computed alone, as forward_alone.
  compute::Matrix logits_alone(compute::Matrix x);

  /// Whether the caches hold every position by itself, so that a text can be taken back to any of them, and its
  /// beginning be given to another: not with recurrent states, pooled positions or windows.
  bool has_whole_past() const;
  /// Takes a sequence back to its first n positions; 0 positions in any case, others with has_whole_past() only.
  void rewind(int64_t sequence, int64_t n);
  /// The first n positions of `from` become the text of `to`. has_whole_past() only.
  void copy_past(int64_t from, int64_t to, int64_t n);

 private:
  // alone: rows as forward_alone has them.
  compute::Matrix forward_rows(std::span<const SequenceTokens> batch, bool alone);
  compute::Matrix pass(std::span<const SequenceTokens> batch, bool alone);
  void pass_layer(const model::Layer& layer, compute::Matrix x, std::span<const model::SequenceSlice> slices,
                  model::ForwardContext& ctx) const;
  void begin_again(int64_t sequence, bool extended);

  const model::Model& model_;
  int64_t n_context_, n_text_;
  int64_t n_batch_;  // of a sequence, at a time, through layers whose caches have a window
  std::vector<model::Layer> layers_;
  std::vector<model::KvCache> caches_;     // one per sequence
  std::vector<std::vector<int32_t>> ids_;  // one per sequence
  std::vector<bool> extended_;             // of each sequence: what is_extended() said of the text in the caches
  DeviceContexts contexts_;
  compute::MatmulObserver* observer_ = nullptr;
};

}  // namespace steelyard::schedule

// Runs calibration text through a model and collects the importance matrix, in either order of iteration, within given
// memory, and so that an interrupted run goes on where it was and ends with the same bits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "imatrix/imatrix.h"
#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard {

struct CollectOptions {
  bool with_output = false;  ///< also observe output.weight
  std::string dataset;       ///< recorded as the origin of the text
  SweepOptions sweep;        ///< keep_layers: token-major, windows of one batch; else one window per round
  /// Chunks after which coverage is looked at, 0: all. With min_expert_tokens > 0 rounds follow each other until every
  /// expert has seen so many inputs, or the text ends; else there is one round.
  int64_t round = 0;
  int64_t min_expert_tokens = 0;
  std::string progress_path;  ///< empty: an interruption loses the run
  std::string identity;       ///< of model, text and settings: progress of another run is refused
  /// At the least, and so that no more than a twentieth of the time is for saving; 0: after every step.
  std::chrono::milliseconds save_every{5'000};
};

struct CollectResult {
  Imatrix imatrix;
  /// Chunks whose numbers stopped being finite and the block where that happened: -1 the embedding, the number of
  /// layers for what comes after them. They count in the blocks before.
  std::vector<std::pair<int64_t, int>> broken;
  int64_t n_chunks = 0;        ///< that passed, broken ones included
  int64_t resumed_chunks = 0;  ///< done by an earlier run; of the chunks after them resumed_layers layers, too
  int resumed_layers = 0;
};

/// Called after every step, which is a layer for a window: `done` of `count` steps of the round over chunks
/// [round_begin, round_end).
using CollectProgress = std::function<void(int64_t round_begin, int64_t round_end, int64_t done, int64_t count)>;

/// Every chunk passes through the model from an empty context; all its positions count. Error when every chunk is
/// broken, and for progress that is damaged or of another run.
CollectResult collect_imatrix(const Model& model, const Chunks& chunks, const CollectOptions& options,
                              const CollectProgress& progress);

/// The least number of inputs that an expert of any block has; the largest int64 without routed experts.
int64_t least_expert_tokens(const std::map<std::string, ImatrixEntry>& entries);

}  // namespace steelyard

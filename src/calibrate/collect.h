// Runs calibration text through a model and collects the importance matrix, in either order of iteration and within
// given memory. An interrupted run continues where it was, and ends with the same bits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/resume_file.h"
#include "imatrix/imatrix.h"
#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::calibrate {

struct CollectOptions {
  bool with_output = false;  ///< also observe output.weight
  std::string dataset;       ///< recorded as the origin of the text
  /// keep_layers: token-major, windows of one batch, which are dealt out to ranks. Else one window per round, whose
  /// layers are dealt out. The leader has the result.
  schedule::SweepOptions sweep;
  /// Chunks between two looks at the coverage; 0: all. With min_expert_tokens > 0, rounds follow each other until every
  /// expert has seen that many inputs, or the text ends. Otherwise there is one round.
  int64_t round = 0;
  int64_t min_expert_tokens = 0;
  /// Called where the text ends and experts have not seen enough: may add to the chunks. Empty: the text is over.
  std::function<void()> more = {};
  std::string progress_path;  ///< empty: an interruption loses the run
  std::string identity;       ///< of model, text and settings: progress of another run is refused
  /// Minimum time between two saves, at most a twentieth of the time is spent on them; 0: after every step.
  std::chrono::milliseconds save_every{5'000};
};

struct CollectResult {
  imatrix::Imatrix imatrix;
  /// Chunks whose numbers became non-finite, and the block where that happened: -1 the embedding, the number of layers
  /// for what follows them. In earlier blocks they are counted.
  std::vector<std::pair<int64_t, int>> broken;
  int64_t n_chunks = 0;        ///< that passed, broken ones included
  int64_t resumed_chunks = 0;  ///< done by an earlier run; of the chunks after them resumed_layers layers, too
  int resumed_layers = 0;
  ResumeFile progress;  ///< to be removed by whoever has the importance in safety
};

/// Called after every step (one layer for a window): `done` of `count` steps of the round over chunks [round_begin,
/// round_end).
using CollectProgress = std::function<void(int64_t round_begin, int64_t round_end, int64_t done, int64_t count)>;

/// Every chunk passes through the model from an empty context, and all its positions count. Error when every chunk is
/// broken, and for progress that is damaged or belongs to another run.
CollectResult collect_imatrix(const model::Model& model, const tokenizer::Chunks& chunks, const CollectOptions& options,
                              const CollectProgress& progress);

/// The smallest number of inputs of any expert of any block; the largest int64 without routed experts.
int64_t least_expert_tokens(const std::map<std::string, imatrix::ImatrixEntry>& entries);

}  // namespace steelyard::calibrate

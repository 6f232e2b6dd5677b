// One run over a text: every scored token's figures, the base that is written or compared with, the agreement of
// routers. Its progress is kept on disk, so an interrupted run continues where it was, and ends with the same digits.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/resume_file.h"
#include "evaluate/divergence_base.h"
#include "evaluate/expert_recorder.h"
#include "evaluate/score.h"
#include "evaluate/token_score.h"

namespace steelyard::evaluate {

/// The results so far; a whole number of batches.
struct Progress {
  uint64_t base_bytes = 0;  ///< of the base that is written, on the disk
  std::vector<TokenScore> scores;
  std::vector<RouterCounts> routers;  ///< per layer with experts, when the base has their choices
};

/// The file of a run's progress. path: empty keeps none. `identity` identifies the run.
ResumeFile open_progress(const std::string& path, const std::string& identity);
/// Durable on return.
void save_progress(ResumeFile& file, const Progress& progress);
/// Returns nothing when none was saved. Error when the file is damaged or belongs to another run.
std::optional<Progress> load_progress(const ResumeFile& file);

struct EvaluationOptions {
  /// keep_layers: token-major, where batches are dealt out to ranks. Else layer-major, where layers are dealt out, and
  /// progress is chunks whose logits are done. The leader has all results, other ranks none.
  schedule::SweepOptions sweep;
  std::string settings;   ///< what else must be the same when a run goes on: backend, precision
  std::string base_path;  ///< of the base to compare with or to write; empty: none
  bool write_base = false;
  BaseLayout layout = BaseLayout::kCompact;
  std::string note;           ///< that the base is to keep, in the compact layout
  std::string progress_path;  ///< empty: an interruption loses the run
  std::chrono::milliseconds save_every{5000};
  std::function<void(int64_t done, int64_t count)> layer_done;  ///< layer-major: called after each; may be empty
  /// Called with logits and what was made of them, for who wants more of some rows; may be empty.
  std::function<void(const ScoredLogits& rows, std::span<const TokenScore> scores)> rows_scored;
};

struct EvaluationResult {
  std::vector<TokenScore> scores;
  std::vector<RouterCounts> routers;
  ExpertShape experts;         ///< the layers that routers are of
  int64_t resumed_chunks = 0;  ///< that an earlier run had done
  ResumeFile progress;         ///< to be removed by whoever has these results in safety
};

/// What an evaluation keeps in memory besides the sweep: logits, and the figures of each scored token.
uint64_t evaluation_bytes(const tokenizer::Chunks& chunks, const ModelIdentity& identity);

/// Called after rows were scored, with the scores so far.
using EvaluationProgress = std::function<void(std::span<const TokenScore>)>;

/// Scores all chunks. `base`: the opened base_path when it is compared with, else null; the caller has checked that it
/// fits. Error when a likelihood or divergence is not finite: the model's output is broken.
EvaluationResult evaluate(const model::Model& model, const ModelIdentity& identity, const tokenizer::Chunks& chunks,
                          const DivergenceBase* base, const EvaluationOptions& options,
                          const EvaluationProgress& progress);

}  // namespace steelyard::evaluate

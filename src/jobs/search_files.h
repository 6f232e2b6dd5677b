// The files of a search: quantized by a plan, measured on held-out chunks, and thrown away.
#pragma once

#include <memory>
#include <string>

#include "base/log_file.h"
#include "base/temporary_file.h"
#include "calibrate/calibrated_layers.h"
#include "evaluate/divergence_base.h"
#include "gguf/source.h"
#include "jobs/progress.h"
#include "jobs/search.h"
#include "jobs/search_measure.h"
#include "jobs/search_state.h"
#include "plan/resolve.h"
#include "search/plan_text.h"

namespace steelyard::jobs {

/// A plan that was quantized by and measured.
struct MadeFile {
  std::string name, plan;  ///< the plan's text
  search::Types types;     ///< of all tensors
  uint64_t bytes = 0;      ///< of their data
  uint64_t header_bytes = 0;
  ChunkFigures figures;
  bool is_preset = false;
};

class SearchFiles {
 public:
  /// The first n_calibrating chunks of the text calibrate, the n_held_out after them judge. All outlive it.
  SearchFiles(const SearchOptions& options, const gguf::Source& source, int64_t n_calibrating, int64_t n_held_out,
              SearchState& state, const ProgressCallback& progress);
  /// Removes what a search leaves behind, unless it was stopped and may go on.
  ~SearchFiles();
  SearchFiles(const SearchFiles&) = delete;
  SearchFiles& operator=(const SearchFiles&) = delete;

  const evaluate::DivergenceBase& base() const { return *base_; }

  /// What an interrupted run has quantized by a plan is not gone on with.
  void forget(const std::string& plan) const;
  /// Calibrates by a plan and tries types on the way.
  void try_types(const std::string& plan, const calibrate::Trials& trials);
  /// What the state does not have is made.
  MadeFile make(const std::string& name, const std::string& plan);

 private:
  std::string path(const std::string& plan) const;
  void quantize(const std::string& plan, bool calibrate, const calibrate::Trials* trials);

  const SearchOptions& options_;
  const gguf::Source& source_;
  int64_t n_calibrating_;
  SearchState& state_;
  const ProgressCallback& progress_;
  int exceptions_;  // when it was made
  LockFile lock_;   // two searches would take each other's files
  HeldOut held_out_;
  std::unique_ptr<evaluate::DivergenceBase> base_;
  std::vector<TemporaryFile> made_;  // of a search that cannot be gone on with
  std::string tried_;                // path of the file that try_types() left
};

}  // namespace steelyard::jobs

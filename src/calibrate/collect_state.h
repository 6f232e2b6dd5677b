// The file that keeps a collection's progress (base/resume_file.h): where the run stands, the sums as they are in
// memory, and in the middle of a window the hidden states. Called by collect_imatrix.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/resume_file.h"
#include "imatrix/imatrix.h"
#include "schedule/layer_sweep.h"

namespace steelyard::calibrate {

/// Broken chunks, and the block in which each became non-finite.
using BrokenChunks = std::vector<std::pair<int64_t, int>>;

struct CollectState {
  int64_t next_chunk = 0;      ///< first chunk of the window that is to be done
  int next_layer = 0;          ///< of that window; above 0 the hidden states are part of the state
  int64_t window = 0;          ///< its chunks, when next_layer is above 0
  BrokenChunks broken;         ///< of the windows before
  BrokenChunks window_broken;  ///< of this one, so far
  std::map<std::string, imatrix::ImatrixEntry> entries;
};

/// The file of a run's state. path: empty keeps none. `identity` [64 characters] identifies the run.
ResumeFile open_collect_state(const std::string& path, const std::string& identity);

/// Durable on return. sweep: null outside a window. The entries are passed separately, because they belong to the
/// collector.
void save_collect_state(ResumeFile& file, const CollectState& state,
                        const std::map<std::string, imatrix::ImatrixEntry>& entries, schedule::LayerSweep* sweep);

/// Returns nothing when none was saved. Within a window the sweep is restored. Error when the file is damaged or
/// belongs to another run.
std::optional<CollectState> load_collect_state(const ResumeFile& file, schedule::LayerSweep& sweep, int64_t n_chunks,
                                               int n_layers);

}  // namespace steelyard::calibrate

// The file that keeps a collection's progress (base/resume_file.h): where the run stands, the sums as they are in
// memory, and in the middle of a window the hidden states. Called by collect_imatrix.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
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

/// Sums as they are in memory: in the file, and on their way from rank to rank.
template <typename Sink>
void write_entries(ByteWriter<Sink>& out, const std::map<std::string, imatrix::ImatrixEntry>& entries) {
  out.template number<int64_t>(static_cast<int64_t>(entries.size()));
  for (const auto& [name, entry] : entries) {
    out.template string<int64_t>(name);
    out.template number<int64_t>(entry.n_in);
    out.template number<int64_t>(entry.n_expert);
    out.values(std::span<const double>(entry.in_sum2));
    out.values(std::span<const int64_t>(entry.counts));
  }
}
std::map<std::string, imatrix::ImatrixEntry> read_entries(ByteReader& in);

/// Pairs of chunk and block, with a count before them.
template <typename Sink>
void write_broken(ByteWriter<Sink>& out, const BrokenChunks& broken) {
  out.template number<int64_t>(static_cast<int64_t>(broken.size()));
  for (const auto& [chunk, layer] : broken) {
    out.template number<int64_t>(chunk);
    out.template number<int64_t>(layer);
  }
}
BrokenChunks read_broken(ByteReader& in, int64_t n_chunks, int n_layers);

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

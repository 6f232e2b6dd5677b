// How ranks share a layer's calibration. Batches of the text are dealt out in turn; what a batch shows of a layer's
// inputs goes to all ranks (batch_record.h), and so do its hidden states, so that each rank has the text. Every slice
// of a linear has an owner, who makes its sums and rounds it (SliceHessians::owner); the outcomes go to all ranks
// again. All sums are made in the order of one process, and so all bytes are those of one process.
//
// All ranks call the same functions in the same order. Used by CalibratedLayers.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "calibrate/hessian_collector.h"
#include "calibrate/stage_rounding.h"
#include "cluster/ranks.h"
#include "schedule/layer_sweep.h"

namespace steelyard::calibrate {

class LayerSharing {
 public:
  /// All outlive it.
  LayerSharing(cluster::Ranks& ranks, schedule::LayerSweep& original, schedule::LayerSweep& rounded)
      : ranks_(ranks), original_(original), rounded_(rounded) {}

  cluster::Ranks& ranks() const { return ranks_; }

  /// Chunks that are watched, and what the inputs are added to.
  struct Pass {
    int64_t begin, end;
    InputRecorder* originals;
    HessianCollector* collector;
  };
  /// Returns whether all chunks stayed finite. Those that did not are left out of both sweeps, in all ranks.
  bool watch(const model::Layer& layer, const model::Layer& rounded, model::LayerPart part,
             const std::set<std::string>& weights, std::span<const Pass> passes, const std::function<void()>& at_work);

  /// Passes the text through a part of the layer in both models.
  void advance(const model::Layer& layer, const model::Layer& rounded, model::LayerPart part);

  /// The mean over all slices, of which each rank adds its own to those before.
  void pool(const SliceHessians& hessians) const;

  /// The tasks of this rank, in their order.
  std::vector<RoundingTask> own(const StageRounding& stage) const;
  /// What other ranks have made of theirs, when it has been given what this rank has made: calls `keep` with each.
  void exchange(const std::vector<std::pair<RoundingTask, RoundingOutcome>>& own,
                const std::function<void(const RoundingTask&, const RoundingOutcome&)>& keep) const;

 private:
  void send_to_others(const cluster::Message& message) const;
  std::string leave_note() const;
  bool take_note(ByteReader& in);

  cluster::Ranks& ranks_;
  schedule::LayerSweep &original_, &rounded_;
};

}  // namespace steelyard::calibrate

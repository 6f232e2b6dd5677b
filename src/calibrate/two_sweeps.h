// The calibration text on its way through two models side by side, the one in the file and the one that was rounded up
// to here: what a layer's linears read in both, and the step to the next layer. Batches pass one after the other, or
// are dealt out to devices or to other ranks; every sum is made in the order of batches, and so has the same bits.
//
// A chunk that becomes non-finite in one model leaves the other too. Used by CalibratedLayers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/hessian_collector.h"
#include "calibrate/layer_copies.h"
#include "calibrate/layer_sharing.h"
#include "calibrate/stage_times.h"
#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard::calibrate {

class TwoSweeps {
 public:
  /// options: of each of the two. n_lanes: copies of a layer at most. `ranks`: that share the work; null: none. All
  /// arguments outlive it.
  TwoSweeps(const model::Model& model, const tokenizer::Chunks& chunks, const schedule::SweepOptions& options,
            size_t n_lanes, cluster::Ranks* ranks);

  /// With other ranks; null where there are none.
  const LayerSharing* sharing() const { return sharing_ ? &*sharing_ : nullptr; }
  int64_t n_ctx() const { return rounded_.n_ctx(); }
  const std::vector<std::pair<int64_t, int>>& broken() const { return rounded_.broken(); }

  /// What is known of the inputs of linears, by name.
  using Hessians = std::map<std::string, std::shared_ptr<const SliceHessians>>;
  struct Watch {
    model::LayerPart part;
    const std::set<std::string>& weights;
    const CollectionSpace& space;
    const std::function<void()>& at_work;  ///< called before each batch, from the calling thread
    StageTimes& times;                     ///< the seconds are added
  };
  /// Of several passes over chunks [begin, end).
  std::vector<Hessians> watch(LayerCopies& copies, const Watch& watch,
                              std::span<const std::pair<int64_t, int64_t>> passes);
  /// Passes all chunks through a part of the layer.
  void advance(LayerCopies& copies, model::LayerPart part);
  /// Whether a chunk had to leave one of the models.
  bool share_broken();

 private:
  Hessians watch_here(LayerCopies& copies, const Watch& watch, int64_t begin, int64_t end);
  void watch_batches(LayerCopies& copies, const Watch& watch, HessianCollector& collector,
                     std::span<InputRecorder> originals, int64_t begin, int64_t end);
  std::vector<Hessians> watch_in_ranks(LayerCopies& copies, const Watch& watch,
                                       std::span<const std::pair<int64_t, int64_t>> passes);

  schedule::LayerSweep original_, rounded_;
  std::optional<LayerSharing> sharing_;
};

}  // namespace steelyard::calibrate

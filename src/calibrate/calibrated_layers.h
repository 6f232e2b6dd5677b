// Calibration and quantization in one pass. Layer by layer the calibration text goes through two models side by side,
// the one in the file and the one that was rounded up to here. A layer is rounded in stages (layer_stages.h): for each
// the text passes through that part of the layer in both models and is watched (hessian_collector.h), then the stage's
// linears are rounded, on all devices and on the processor at the same time (stage_rounding.h, rounding_queue.h).
//
// Part of the chunks is held out of the Hessians that matrices are rounded with, and judges the result. Memory is the
// hidden states of all chunks, twice, and one layer's statistics and bytes (calibration_memory.h). quantize() asks for
// tensors in file order.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/backend_pool.h"
#include "calibrate/calibration_memory.h"
#include "calibrate/hessian_collector.h"
#include "calibrate/rounding_choice.h"
#include "calibrate/stage_rounding.h"
#include "calibrate/stage_times.h"
#include "calibrate/two_sweeps.h"
#include "quantize/layer_encoder.h"
#include "tokenizer/chunks.h"

namespace steelyard::calibrate {

/// Other types that tensors are also rounded in, only to see what that loses. One resolution of the source's tensors
/// for each type; what a tensor falls back to is tried once.
struct Trials {
  std::vector<plan::Resolution> resolutions;
  /// Another way of rounding than the calibration's; may be empty.
  std::function<std::vector<std::byte>(const plan::Decision& decision)> round;
  /// Which part of a tensor is rounded where its bytes are not needed; none: all of it.
  std::function<std::optional<ErrorSample>(const plan::Decision& decision)> sample;
  /// Without bytes where only a part was rounded.
  std::function<void(const plan::Decision& decision, const RoundedTensor& rounded)> hear;
  /// All types of a tensor were heard.
  std::function<void(const std::string& tensor)> heard;
};

/// Devices that compute bit for bit alike; all outlive the calibration. With none, everything is done where the model
/// is.
struct CalibrationDevices {
  std::vector<formats::DeviceEncoder*> encoders = {};  ///< matrices are rounded there, too, with the processor's bytes
  std::vector<compute::Backend*> forward = {};         ///< the text's batches pass there
  std::vector<compute::Backend*> moments = {};         ///< others of the same devices: sums over inputs are made there
};

/// Where the seconds of a stage of a layer went, or of the text's step through the layer when it was rounded.
struct StageReport {
  int layer;
  std::string_view stage;  ///< stage_name(), or "advance"
  StageTimes times;
};

struct CalibrationSettings {
  RoundingSettings rounding;
  CalibrationDevices devices = {};
  int64_t held_out = 8;            ///< of so many chunks one is held out
  schedule::SweepOptions sweep;    ///< of each of the two models: where the text's hidden states are
  const Trials* trials = nullptr;  ///< or null; outlives the encoder
  /// Bytes for the statistics of a stage, by layer (calibration_memory.h). Empty: as many as they take.
  std::vector<uint64_t> stage_memory = {};
  bool reads_ahead = true;  ///< the next layer of the file, where there is room for it beside the plan of memory
  cluster::Ranks* ranks = nullptr;  ///< that share the work; null: there are no others. Outlives the encoder
  /// Called often, before a batch and between matrices that are rounded, with the layer's number, from the thread that
  /// asks for the layer's tensors. May throw: the layer is then unfinished. May be empty.
  std::function<void(int layer)> at_work = {};
};

class CalibratedLayers : public quantize::LayerEncoder {
 public:
  /// All arguments must outlive the encoder; `resolution` belongs to the source's tensors.
  CalibratedLayers(const gguf::Source& source, const plan::Resolution& resolution, const model::Model& model);

  /// The text, which outlives the encoder, begins its way: before the first tensor is encoded.
  void start(const tokenizer::Chunks& chunks, const CalibrationSettings& settings);

  bool covers(const plan::Decision& decision) const override;
  std::optional<std::vector<std::byte>> encode(const plan::Decision& decision) override;
  void finished(const plan::Decision& decision, std::span<const std::byte> bytes) override;
  /// Of other ranks than the leader, in place of encode(): takes part in all that the leader does until release().
  void follow();
  /// The leader needs nothing more.
  void release();

  /// Of the tensors encoded so far, in the order of layers.
  const std::vector<RoundingReport>& reports() const { return reports_; }
  /// What outputs lose on held-out chunks with half of the text, over what they lose with all of it: the geometric mean
  /// over some layers. 0 where nothing was compared.
  double half_over_all() const;
  /// Chunks left out because their numbers became non-finite, and the layer where that happened.
  const std::vector<std::pair<int64_t, int>>& broken() const { return text_->broken(); }
  /// Seconds spent so far.
  const StageTimes& times() const { return times_; }
  /// The same by layer and stage, in the order in which it was spent.
  const std::vector<StageReport>& stages() const { return stages_; }
  /// What each kind of worker has done so far, by name.
  std::map<std::string, WorkerRates::Work> workers() const { return rates_.all(); }

 private:
  using Hessians = TwoSweeps::Hessians;
  void pass_layer(int number);
  void round_part(int number, LayerCopies& copies, model::LayerPart part,
                  std::span<const plan::Decision* const> wanted);
  void take_finished(std::span<const plan::Decision* const> wanted, bool& all_finished);
  std::vector<std::vector<StageRounding::Tensor>> round(std::vector<RoundingGroup> groups,
                                                        const RoundingSettings& settings);
  StagePlan plan_for(int number, int stage, std::span<const plan::Decision* const> wanted) const;
  void try_types(const plan::Decision& decision, const RoundedTensor& rounded, const SliceHessians& watched,
                 const SliceHessians* held_out, const RoundingSettings& settings);
  void note(int layer, std::string_view stage) {
    stages_.push_back({layer, stage, times_ - noted_});
    noted_ = times_;
  }
  void tell_at_work() const {
    if (settings_.at_work) settings_.at_work(next_layer_ - 1);
  }

  const gguf::Source& source_;
  const plan::Resolution& resolution_;
  const model::Model& model_;
  CalibrationSettings settings_;
  std::vector<compute::Backend*> forward_;  // where batches pass; empty: where the model is
  std::optional<BackendPool> moments_;      // of devices
  std::optional<TwoSweeps> text_;           // on its way through the two models
  int64_t n_chunks_ = 0;
  int64_t n_watched_ = 0;                                  // chunks for the Hessians; those after them are held out
  int next_layer_ = 0;                                     // after the one at work
  std::map<std::string, std::vector<std::byte>> encoded_;  // of layers that were passed, until they are asked for
  std::map<std::string, std::span<const std::byte>> finished_;  // by an interrupted run
  std::vector<RoundingReport> reports_;
  StageTimes times_, noted_;  // noted_: what `stages_` has of them
  std::vector<StageReport> stages_;
  WorkerRates rates_;
  std::vector<double> half_over_all_;  // the ratio of what they lose, of tensors that were compared
};

}  // namespace steelyard::calibrate

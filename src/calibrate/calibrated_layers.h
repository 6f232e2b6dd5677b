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
#include <vector>

#include "calibrate/calibration_memory.h"
#include "calibrate/hessian_collector.h"
#include "calibrate/layer_sharing.h"
#include "calibrate/rounding_choice.h"
#include "calibrate/stage_rounding.h"
#include "calibrate/stage_times.h"
#include "quantize/layer_encoder.h"
#include "schedule/layer_sweep.h"
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

struct CalibrationSettings {
  RoundingSettings rounding;
  /// Where matrices are rounded beside the processor, with the same bytes: devices of one kind, which outlive this.
  std::vector<formats::DeviceEncoder*> devices = {};
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
  CalibratedLayers(const gguf::Reader& source, const plan::Resolution& resolution, const model::Model& model);

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
  const std::vector<std::pair<int64_t, int>>& broken() const { return rounded_->broken(); }
  /// Seconds spent so far.
  const StageTimes& times() const { return times_; }
  /// What each kind of worker has done so far, by name.
  std::map<std::string, WorkerRates::Work> workers() const { return rates_.all(); }

 private:
  using Hessians = std::map<std::string, std::shared_ptr<const SliceHessians>>;
  void pass_layer(int number);
  // `rounded` has the layer's weights; quantized ones replace them.
  void round_part(int number, const model::Layer& layer, model::LayerPart part,
                  std::span<const plan::Decision* const> wanted, model::LoadedTensors& rounded);
  Hessians watch(const model::Layer& layer, const model::Layer& rounded, model::LayerPart part,
                 const std::set<std::string>& weights, const CollectionSpace& space, int64_t begin, int64_t end);
  // Of several passes over parts of the text, each [begin, end).
  std::vector<Hessians> watch_all(const model::Layer& layer, const model::Layer& rounded, model::LayerPart part,
                                  const std::set<std::string>& weights, const CollectionSpace& space,
                                  std::span<const std::pair<int64_t, int64_t>> passes);
  void take_finished(std::span<const plan::Decision* const> wanted, bool& all_finished);
  std::vector<std::vector<StageRounding::Tensor>> round(std::vector<RoundingGroup> groups,
                                                        const RoundingSettings& settings);
  StagePlan plan_for(int number, int stage, std::span<const plan::Decision* const> wanted) const;
  bool share_broken();
  void try_types(const plan::Decision& decision, const RoundedTensor& rounded, const SliceHessians& watched,
                 const SliceHessians* held_out, const RoundingSettings& settings);
  void tell_at_work() const {
    if (settings_.at_work) settings_.at_work(next_layer_ - 1);
  }

  const gguf::Reader& source_;
  const plan::Resolution& resolution_;
  const model::Model& model_;
  CalibrationSettings settings_;
  std::optional<schedule::LayerSweep> original_, rounded_;  // the text on its way through the two models
  std::optional<LayerSharing> sharing_;                     // with other ranks
  int64_t n_chunks_ = 0;
  int64_t n_watched_ = 0;                                  // chunks for the Hessians; those after them are held out
  int next_layer_ = 0;                                     // after the one at work
  std::map<std::string, std::vector<std::byte>> encoded_;  // of layers that were passed, until they are asked for
  std::map<std::string, std::span<const std::byte>> finished_;  // by an interrupted run
  std::vector<RoundingReport> reports_;
  StageTimes times_;
  WorkerRates rates_;
  std::vector<double> half_over_all_;  // the ratio of what they lose, of tensors that were compared
};

}  // namespace steelyard::calibrate

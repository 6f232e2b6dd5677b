// Calibration and quantization in one pass. Layer by layer the calibration text goes through two models side by side,
// the one in the file and the one that was rounded up to here. A layer is rounded in stages (stage_of): for each the
// text passes through that part of the layer in both models and is watched, then the stage's linears are rounded with
// the second moments of what they read in the rounded model (quantize/feedback.h), towards weights that make up for
// what was lost before (quantize/correction.h).
//
// Part of the chunks is held out of the moments. On their moments the ways to round a matrix are compared, and the one
// whose outputs lose least is kept. Memory is the activations of all chunks, twice, and one layer's moments and bytes.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/moment_collector.h"
#include "quantize/feedback.h"
#include "quantize/layer_encoder.h"
#include "schedule/layer_sweep.h"
#include "tokenizer/chunks.h"

namespace steelyard {

/// How far moments are trusted: a part of their diagonal is added, the larger the fewer inputs they are of.
struct Caution {
  double always;      ///< other text is another text, however much there was of this one
  double per_column;  ///< times columns per input

  double of(int64_t n_columns, double n_inputs) const {
    return n_inputs > 0.0 ? always + per_column * static_cast<double>(n_columns) / n_inputs : always;
  }
};

/// docs/quantize.md has the measurements behind the numbers.
struct CalibrationSettings {
  FeedbackSettings feedback;  ///< with the damping that follows
  Caution damping{0.1, 2.0};  ///< of feedback
  Caution ridge{0.1, 20.0};   ///< of the correction
  int64_t held_out = 8;       ///< of so many chunks one is held out
  double shrinkage = 0.3;     ///< an expert's moments count the mean of its layer's as this many times n_in inputs
  SweepOptions sweep;         ///< of each of the two models: where the text's streams are
  DeviceEncoder* device = nullptr;  ///< where matrices are rounded, with the same bytes; null: the processor
};

/// Bytes of the moments that a layer's rounding holds at a time, at most: what is in memory beside weights and streams.
uint64_t moment_bytes(const Resolution& resolution);

/// How a matrix is rounded: with feedback, or each weight alone, weighted by the moments' diagonal or not.
enum class Rounding { kFeedback, kDiagonal, kPlain };
inline constexpr size_t kRoundings = 3;

/// What one tensor's outputs lose on chunks that were held out, by way of rounding.
struct RoundingReport {
  std::string name;
  /// Part of the outputs' energy, mean over slices, less what the tensor cannot change: below zero where it makes up
  /// for more than its rounding loses.
  std::array<double, kRoundings> loss = {};
  std::array<int64_t, kRoundings> chosen = {};  ///< slices rounded so
};

/// When a linear's turn comes within its layer, 0 to kStages - 1: what reads another's output comes after it.
int stage_of(std::string_view tensor);
inline constexpr int kStages = 4;
/// The part of the layer that a stage's linears are in: nothing before it has to be repeated for them.
LayerPart part_of(int stage);

class CalibratedLayers : public LayerEncoder {
 public:
  /// All outlive the encoder; `resolution` is of the source's tensors.
  CalibratedLayers(const gguf::Reader& source, const Resolution& resolution, const Model& model, const Chunks& chunks,
                   const CalibrationSettings& settings);

  bool covers(const Decision& decision) const override;
  std::optional<std::vector<std::byte>> encode(const Decision& decision) override;
  void finished(const Decision& decision, std::span<const std::byte> bytes) override;

  /// Of the tensors encoded so far, in the order of layers.
  const std::vector<RoundingReport>& reports() const { return reports_; }
  /// Chunks left out because their numbers stopped being finite, and the layer where that happened.
  const std::vector<std::pair<int64_t, int>>& broken() const { return rounded_.broken(); }

 private:
  using Moments = std::map<std::string, std::shared_ptr<const SecondMoments>>;

  void pass_layer(int number);
  // `rounded` has the layer's weights; those that are rounded take their places.
  void round_part(int number, const Layer& layer, LayerPart part, std::span<const Decision* const> wanted,
                  LoadedWeights& rounded);
  Moments watch(const Layer& layer, const Layer& rounded, LayerPart part, const std::set<std::string>& weights,
                int64_t begin, int64_t end);
  bool share_broken();
  std::vector<std::byte> encode_tensor(const Decision& decision, const SecondMoments& watched,
                                       const SecondMoments* held_out);

  const gguf::Reader& source_;
  const Resolution& resolution_;
  const Model& model_;
  CalibrationSettings settings_;
  LayerSweep original_, rounded_;  // the text on its way through the two models
  int64_t n_chunks_;
  int64_t n_watched_;  // chunks for the moments; those after them are held out
  int next_layer_ = 0;
  std::map<std::string, std::vector<std::byte>> encoded_;       // of layers that were passed, until they are asked for
  std::map<std::string, std::span<const std::byte>> finished_;  // by an interrupted run
  std::vector<RoundingReport> reports_;
};

}  // namespace steelyard

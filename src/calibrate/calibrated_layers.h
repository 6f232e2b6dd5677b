// Calibration and quantization in one pass. Layer by layer: the calibration text passes through the layer as it is in
// the file and is watched; every linear is rounded with the second moments of its inputs (quantize/feedback.h); then
// the text passes through the layer as it was rounded, so that the next one learns to bear what this one lost.
//
// Part of the chunks is held out of the moments. On their moments the ways to round a matrix are compared, and the one
// whose outputs lose least is kept. Memory is the activations of all chunks and one layer's moments and bytes.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "calibrate/moment_collector.h"
#include "model/layer_sweep.h"
#include "quantize/feedback.h"
#include "quantize/layer_encoder.h"
#include "tokenizer/chunks.h"

namespace steelyard {

/// docs/quantize.md has the measurements behind the numbers.
struct CalibrationSettings {
  FeedbackSettings feedback;
  int64_t held_out = 8;    ///< of so many chunks one is held out
  double shrinkage = 0.3;  ///< an expert's moments count the mean of its layer's as this many times n_in inputs
};

/// How a matrix is rounded: with feedback, or each weight alone, weighted by the moments' diagonal or not.
enum class Rounding { kFeedback, kDiagonal, kPlain };
inline constexpr size_t kRoundings = 3;

/// What one tensor's outputs lose on chunks that were held out, by way of rounding.
struct RoundingReport {
  std::string name;
  std::array<double, kRoundings> loss = {};     ///< part of the outputs' energy, mean over slices
  std::array<int64_t, kRoundings> chosen = {};  ///< slices rounded so
};

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
  const std::vector<std::pair<int64_t, int>>& broken() const { return sweep_.broken(); }

 private:
  using Moments = std::map<std::string, std::shared_ptr<const SecondMoments>>;

  void pass_layer(int number);
  Moments watch(const Layer& layer, int64_t begin, int64_t end);
  std::vector<std::byte> encode_tensor(const Decision& decision, const SecondMoments& watched,
                                       const SecondMoments* held_out);

  const gguf::Reader& source_;
  const Resolution& resolution_;
  const Model& model_;
  CalibrationSettings settings_;
  LayerSweep sweep_;
  int64_t n_chunks_;
  int64_t n_watched_;  // chunks for the moments; those after them are held out
  int next_layer_ = 0;
  std::map<std::string, std::vector<std::byte>> encoded_;       // of layers that were passed, until they are asked for
  std::map<std::string, std::span<const std::byte>> finished_;  // by an interrupted run
  std::vector<RoundingReport> reports_;
};

}  // namespace steelyard

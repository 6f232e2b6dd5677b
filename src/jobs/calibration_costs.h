// What a calibration takes: memory, which is a promise, and work. Known from the model's header alone, so that it can
// be asked before a download. Used by quantize.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "calibrate/calibration_memory.h"
#include "jobs/calibration_text.h"
#include "jobs/quantize_devices.h"
#include "jobs/shaping.h"
#include "quantize/layer_encoder.h"

namespace steelyard::jobs {

/// Bytes, where nothing else is said. What depends on the layer is that of the one where most is used.
struct CalibrationCosts {
  int64_t n_tokens = 0;
  uint64_t allowed = 0;  ///< `memory` of the options, or most of what there is
  uint64_t peak = 0;     ///< of the host's memory: the sum of what follows
  uint64_t program = 0, weights = 0, encoded = 0, activations = 0, hidden_states = 0, statistics = 0;
  int64_t slices_at_once = 1;         ///< experts, heads
  bool stores_rows = false;           ///< inputs of experts in place of their sums
  uint64_t least = 0;                 ///< with which it can be done
  uint64_t scratch = 0;               ///< beside the result
  uint64_t output = 0;                ///< the result
  std::optional<uint64_t> on_device;  ///< of each device's memory, where there are some
  double forward_flop = 0, moments_flop = 0, factors_flop = 0, feedback_flop = 0;
  double searched_weights = 0;
  double forward_seconds = 0, moments_seconds = 0, factors_seconds = 0, search_seconds = 0;  ///< estimates

  template <class Self, class Visit>
  static void fields(Self& self, Visit&& visit) {
    visit("n_tokens", self.n_tokens);
    visit("allowed", self.allowed);
    visit("peak", self.peak);
    visit("program", self.program);
    visit("weights", self.weights);
    visit("encoded", self.encoded);
    visit("activations", self.activations);
    visit("hidden_states", self.hidden_states);
    visit("statistics", self.statistics);
    visit("slices_at_once", self.slices_at_once);
    visit("stores_rows", self.stores_rows);
    visit("least", self.least);
    visit("scratch", self.scratch);
    visit("output", self.output);
    visit("on_device", self.on_device);
    visit("forward_flop", self.forward_flop);
    visit("moments_flop", self.moments_flop);
    visit("factors_flop", self.factors_flop);
    visit("feedback_flop", self.feedback_flop);
    visit("searched_weights", self.searched_weights);
    visit("forward_seconds", self.forward_seconds);
    visit("moments_seconds", self.moments_seconds);
    visit("factors_seconds", self.factors_seconds);
    visit("search_seconds", self.search_seconds);
  }
};

/// How a calibration uses memory; allowed: 0 means most of what there is. Error with the numbers where that is less
/// than it can do with.
calibrate::CalibrationMemory calibration_memory(const gguf::Source& source, const model::ModelConfig& config,
                                                const plan::Resolution& resolution, int64_t n_chunks, int64_t n_ctx,
                                                uint64_t allowed, int n_devices);

/// Chunks of the text, or more where its file has fewer.
int64_t expected_chunks(const TextSource& text, const ShapingOptions& shaping, const model::ModelConfig& config);

/// The same as calibration_memory(), and the work. Times are measured with a small matrix on this machine.
CalibrationCosts calibration_costs(const gguf::Source& source, const model::ModelConfig& config,
                                   const plan::Resolution& resolution, const ShapingOptions& shaping,
                                   const TextSource& text, uint64_t allowed, const QuantizeDevices& devices);

/// Stands for the layers of a calibration that is not run.
class CalibratedTensors : public quantize::LayerEncoder {
 public:
  explicit CalibratedTensors(int n_layers) : n_layers_(n_layers) {}
  bool covers(const plan::Decision& decision) const override { return calibrate::is_covered(decision, n_layers_); }
  std::optional<std::vector<std::byte>> encode(const plan::Decision& /*decision*/) override { return std::nullopt; }
  void finished(const plan::Decision& /*decision*/, std::span<const std::byte> /*bytes*/) override {}

 private:
  int n_layers_;
};

}  // namespace steelyard::jobs

// How much memory a calibration takes, known before it begins: pure arithmetic over the shapes of tensors. What a stage
// of a layer's rounding holds is planned here too, and CalibratedLayers keeps to that plan: the statistics of its
// inputs in memory or in a scratch file, sums or stored inputs of routed experts, and how many slices are rounded at a
// time. None of it changes a byte of the result.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "gguf/source.h"
#include "model/config.h"
#include "plan/resolve.h"

namespace steelyard::calibrate {

/// A calibration text.
struct TextSize {
  int64_t n_ctx = 0, n_chunks = 0;
  int64_t n_batch = 2048;     ///< tokens at a time
  bool compares_half = true;  ///< in this layer half of the text is tried alone, too

  int64_t n_tokens() const { return n_ctx * n_chunks; }
  int64_t tokens_at_a_time() const { return std::min(std::max(n_ctx, n_batch), n_tokens()); }
};

/// Rows that linears of a stage read: tensors of one shape, which in an FFN's input stage read the same. In other
/// stages each tensor is taken for itself.
struct StageInput {
  int64_t n = 0, n_slices = 1;
  bool routed = false;
  uint64_t weights = 0, most = 0;  ///< of a slice: of all tensors, of the largest
};
std::vector<StageInput> stage_inputs(std::span<const plan::Decision* const> decisions, int stage);

/// The tensors of the trunk's layers that are rounded, by layer and stage.
std::vector<std::vector<std::vector<const plan::Decision*>>> by_stage(const plan::Resolution& resolution,
                                                                      size_t n_layers);

/// What a stage may hold, in bytes. A collection is of watched, of held-out or of half of the chunks.
struct StageNeeds {
  uint64_t sums = 0;        ///< of linears other than routed experts, in one collection
  uint64_t routed = 0;      ///< of routed experts, in one collection, if they are sums
  uint64_t rows = 0;        ///< of all collections, if the inputs of routed experts are stored
  uint64_t indices = 0;     ///< which of these an expert reads
  uint64_t pooled = 0;      ///< means over all experts
  uint64_t batch = 0;       ///< inputs of a batch, and what is made of them
  uint64_t collecting = 0;  ///< beside all of these, while a batch is collected
  uint64_t of_batch_for_sums = 0, of_batch_for_rows = 0;  ///< and what that takes where sums, or where inputs are kept
  uint64_t slice = 0;                                     ///< matrices of one slice while it is rounded, of the largest
  uint64_t on_device = 0;  ///< of a device: sums of dense linears that are collected there, or a slice that is rounded
  int64_t n_slices = 0;    ///< of all inputs: that could be rounded at the same time
  int n_collections = 0;
};
StageNeeds stage_needs(std::span<const plan::Decision* const> decisions, int stage, int64_t n_used,
                       const TextSize& text);

struct StagePlan {
  bool stores_rows = false;
  uint64_t space = UINT64_MAX;         ///< for statistics; the scratch file has the others
  int64_t slices_at_once = INT64_MAX;  ///< at most, of any of the stage's inputs
  uint64_t memory = 0;                 ///< that is used; more than was allowed where that does not suffice
  uint64_t scratch = 0;                ///< bytes of the scratch file
};
/// n_devices: that take part. From them inputs of experts come as rows.
StagePlan plan_stage(const StageNeeds& needs, uint64_t memory, int n_threads, int n_devices = 0);

/// Whether a tensor of a layer is rounded with what is known of its inputs, if it is one of a linear's.
bool is_rounded(const plan::Decision& decision);
/// The same for any tensor of a model with so many layers.
bool is_covered(const plan::Decision& decision, int n_layers);

/// Of all layers, in bytes. What depends on the layer is that of the one where most is used.
struct CalibrationMemory {
  uint64_t program = 0;
  uint64_t hidden_states = 0, in_memory = 0;  ///< of all chunks in both models, and how much of that is in memory
  uint64_t weights = 0, encoded = 0;          ///< of one layer: in the file, and as it was rounded
  uint64_t activations = 0;                   ///< of a batch, and what waits between layers
  uint64_t statistics = 0;                    ///< of a stage: sums or inputs, and the matrices of slices at work
  int64_t slices_at_once = 1;
  bool stores_rows = false;
  uint64_t peak = 0;               ///< all of these together
  uint64_t least = 0;              ///< that a calibration of this model can do with
  uint64_t scratch = 0;            ///< of the scratch files, together
  uint64_t on_device = 0;          ///< of each device's memory, where there are some
  std::vector<uint64_t> of_stage;  ///< for the statistics, by layer
};
CalibrationMemory plan_calibration(const gguf::Source& source, const model::ModelConfig& config,
                                   const plan::Resolution& resolution, const TextSize& text, uint64_t memory,
                                   int n_threads, int n_devices = 0);

}  // namespace steelyard::calibrate

#include "calibrate/calibration_memory.h"

#include <algorithm>

#include "base/saturating.h"
#include "calibrate/layer_stages.h"
#include "calibrate/part_activations.h"
#include "calibrate/rounding_lanes.h"
#include "gguf/block_name.h"
#include "quantize/hessian_factor.h"
#include "schedule/sweep_plan.h"

namespace steelyard::calibrate {
namespace {

// Of n x n values: the mean of x x^T while its factor is made. Means and sums, of H and of D, take less.
constexpr uint64_t kOfSlice = sizeof(float) + quantize::HessianFactor::kPeakBytes;
// For each weight of a slice that is rounded: row and target, three results, decoded; for one tensor at a time what its
// target is made of, or the products that judge it.
constexpr uint64_t kOfWeight = 2 * sizeof(float) + 6, kOfWeightAtWork = 3 * sizeof(float);

// On a device, of n x n values: H, D, and of another matrix R and H. For each weight: rows, codes,
// errors, the results.
constexpr uint64_t kOnDeviceOfSlice = 4 * sizeof(float), kOnDevice = 4 * sizeof(float);

uint64_t mul(uint64_t a, uint64_t b) { return saturating_mul(a, b); }
uint64_t unsign(int64_t n) { return static_cast<uint64_t>(std::max<int64_t>(n, 0)); }

}  // namespace

std::vector<StageInput> stage_inputs(std::span<const plan::Decision* const> decisions, int stage) {
  std::vector<StageInput> inputs;
  for (const plan::Decision* decision : decisions) {
    const gguf::TensorInfo& tensor = *decision->tensor;
    if (tensor.n_dims < 2) continue;
    const int64_t n = tensor.ne[0], n_slices = tensor.ne[2] * tensor.ne[3];
    auto input = std::ranges::find_if(
        inputs, [&](const StageInput& other) { return other.n == n && other.n_slices == n_slices; });
    if (!is_ffn_input(stage) || input == inputs.end()) {
      input = inputs.insert(inputs.end(), {n, n_slices, part_of(stage) == model::LayerPart::kFfn && n_slices > 1});
    }
    const uint64_t weights = mul(unsign(n), unsign(tensor.ne[1]));
    input->weights = saturating_add(input->weights, weights);
    input->most = std::max(input->most, weights);
  }
  return inputs;
}

std::vector<std::vector<std::vector<const plan::Decision*>>> by_stage(const plan::Resolution& resolution,
                                                                      size_t n_layers) {
  std::vector<std::vector<std::vector<const plan::Decision*>>> layers(
      n_layers, std::vector<std::vector<const plan::Decision*>>(kStages));
  for (const plan::Decision& decision : resolution.decisions) {
    const auto block = gguf::block_of(decision.tensor->name);
    if (!block || *block < 0 || static_cast<size_t>(*block) >= n_layers || !is_rounded(decision)) continue;
    layers[static_cast<size_t>(*block)][static_cast<size_t>(stage_of(decision.tensor->name))].push_back(&decision);
  }
  return layers;
}

StageNeeds stage_needs(std::span<const plan::Decision* const> decisions, int stage, int64_t n_used,
                       const TextSize& text) {
  StageNeeds needs;
  needs.n_collections = text.compares_half ? 3 : 2;
  const uint64_t tokens = unsign(text.n_tokens()), batch = unsign(text.tokens_at_a_time());
  const uint64_t collected = text.compares_half ? saturating_add(tokens, tokens / 2) : tokens;
  uint64_t largest = 0, with_sums = 0, with_rows = 0;
  for (const auto& [n, n_slices, routed, weights, most] : stage_inputs(decisions, stage)) {
    const uint64_t square = mul(unsign(n), unsign(n));
    const uint64_t of_both = mul(2 * sizeof(float), mul(square, unsign(n_slices)));  // H and D
    const uint64_t per_token = unsign(routed ? n_used : n_slices);
    const uint64_t of_batch = mul(mul(batch, per_token), mul(unsign(n), sizeof(float)));
    if (routed) {
      const uint64_t different = is_ffn_input(stage) ? 1 : unsign(n_used);  // of a token
      const uint64_t rows = mul(collected, different);
      needs.routed = saturating_add(needs.routed, of_both);
      needs.rows = saturating_add(needs.rows, mul(rows, mul(2 * sizeof(float), unsign(n))));
      needs.indices = saturating_add(needs.indices, mul(mul(collected, unsign(n_used)), sizeof(int32_t) + 1));
      needs.pooled = saturating_add(needs.pooled, mul(2 * sizeof(float), square));
      with_rows = std::max(with_rows, mul(mul(batch, different), mul(2 * sizeof(float), unsign(n))));
    } else {
      with_rows = std::max(with_rows, mul(3, of_batch));
      needs.sums = saturating_add(needs.sums, of_both);
      largest = std::max(largest, of_both);
    }
    needs.batch = saturating_add(needs.batch, of_batch);
    with_sums = std::max(with_sums, mul(3, of_batch));
    needs.slice = std::max(needs.slice,
                           saturating_add(mul(kOfSlice, square), mul(kOfWeight, weights), mul(kOfWeightAtWork, most)));
    needs.n_slices += n_slices;
    needs.on_device = std::max(needs.on_device, saturating_add(mul(kOnDeviceOfSlice, square), mul(kOnDevice, most)));
  }
  // Of a batch: the original's inputs, and of one linear the own ones, their difference, and a copy of it; or only what
  // is stored of both.
  needs.collecting = saturating_add(needs.batch, needs.sums, largest);
  needs.of_batch_for_sums = with_sums;
  needs.of_batch_for_rows = with_rows;
  // Of a dense linear a device has the sums, of an expert what its sums are made from. Inputs come there with their
  // drift.
  needs.on_device = saturating_add(std::max(needs.sums, needs.on_device), with_sums);
  return needs;
}

namespace {

// A way to hold a stage's statistics: sums of all linears, or inputs of routed experts in place of theirs.
struct Way {
  Way(const StageNeeds& stage, bool stores_rows_, int n_threads, int n_devices)
      : stores_rows(stores_rows_), slice(stage.slice) {
    const auto collections = static_cast<uint64_t>(stage.n_collections);
    lanes = std::max<uint64_t>(unsign(std::min<int64_t>(most_lanes(n_threads, n_devices), stage.n_slices)), 1);
    kept = saturating_add(mul(collections, stage.sums), stores_rows ? stage.rows : mul(collections, stage.routed));
    beside = saturating_add(stage.pooled, stores_rows ? stage.indices : 0);
    // Sums are collected in a backend's memory, and come from there.
    const uint64_t of_batch = stores_rows ? stage.of_batch_for_rows : stage.of_batch_for_sums;
    // Every device has a batch.
    const uint64_t of_others = mul(unsign(n_devices - 1), saturating_add(stage.batch, of_batch));
    collecting = saturating_add(stage.collecting, of_batch, of_others, stores_rows ? 0 : mul(2, stage.routed));
    last = saturating_add(stage.sums, stores_rows ? 0 : stage.routed);
  }

  // While a batch is collected, or so many slices are rounded, with nothing kept.
  uint64_t at_work(uint64_t slices) const { return saturating_add(beside, std::max(mul(slices, slice), collecting)); }
  uint64_t least() const { return at_work(1); }
  // With everything kept in memory. The last collection is not kept yet while it is made.
  uint64_t enough() const {
    return saturating_add(beside, std::max(saturating_add(kept, mul(lanes, slice)),
                                           saturating_add(saturating_sub(kept, last), collecting)));
  }

  bool stores_rows;
  uint64_t slice, lanes = 1, kept = 0, beside = 0, collecting = 0, last = 0;
};

struct Ways {
  Ways(const StageNeeds& stage, int n_threads, int n_devices)
      : sums(stage, false, n_threads, n_devices),
        rows(stage, true, n_threads, n_devices),
        has_rows(stage.routed > 0),
        has_sums(!has_rows || n_devices == 0) {}

  uint64_t least() const {
    return has_rows ? std::min(has_sums ? sums.least() : UINT64_MAX, rows.least()) : sums.least();
  }
  uint64_t enough() const {
    return has_rows ? std::min(has_sums ? sums.enough() : UINT64_MAX, rows.enough()) : sums.enough();
  }
  // The one that keeps less, if memory suffices for both.
  const Way& best(uint64_t memory) const {
    if (!has_sums) return rows;
    if (!has_rows || sums.enough() <= memory) return sums;
    if (sums.least() > memory) return rows.least() < sums.least() ? rows : sums;
    return sums.kept <= rows.kept || rows.least() > memory ? sums : rows;
  }

  Way sums, rows;
  bool has_rows, has_sums;
};

}  // namespace

// What is kept may have half of what a single slice leaves. More slices come next, and the rest is for what is kept.
StagePlan plan_stage(const StageNeeds& needs, uint64_t memory, int n_threads, int n_devices) {
  const Ways ways(needs, n_threads, n_devices);
  const Way& way = ways.best(memory);
  StagePlan plan;
  plan.stores_rows = way.stores_rows;
  if (!way.stores_rows && way.enough() <= memory) {
    plan.memory = way.enough();
    plan.slices_at_once = static_cast<int64_t>(way.lanes);
    return plan;
  }
  const uint64_t left = saturating_sub(memory, way.least());
  const uint64_t for_slices = saturating_sub(memory, saturating_add(way.beside, std::min(way.kept, left / 2)));
  const uint64_t slices = std::clamp<uint64_t>(for_slices / std::max<uint64_t>(way.slice, 1), 1, way.lanes);
  plan.slices_at_once = static_cast<int64_t>(slices);
  plan.space = saturating_sub(memory, way.at_work(slices));
  plan.scratch = saturating_sub(way.kept, plan.space);
  // Sums that are made of stored inputs stay where there is room.
  const uint64_t kept = saturating_add(way.kept, way.stores_rows ? mul(2, needs.routed) : 0);
  plan.memory = saturating_add(way.at_work(slices), std::min(plan.space, kept));
  return plan;
}

bool is_rounded(const plan::Decision& decision) {
  const formats::Format& to = format(decision.type);
  return decision.type != decision.tensor->type && to.encoder != nullptr && to.unpack != nullptr;
}

bool is_covered(const plan::Decision& decision, int n_layers) {
  const auto layer = gguf::block_of(decision.tensor->name);
  return layer && *layer < n_layers && is_rounded(decision);
}

CalibrationMemory plan_calibration(const gguf::Source& source, const model::ModelConfig& config,
                                   const plan::Resolution& resolution, const TextSize& text, uint64_t memory,
                                   int n_threads, int n_devices) {
  struct Layer {
    uint64_t weights = 0, encoded = 0;
  };
  std::vector<Layer> layers(config.layers.size());
  for (const plan::Decision& decision : resolution.decisions) {
    const auto block = gguf::block_of(decision.tensor->name);
    if (!block || *block < 0 || static_cast<size_t>(*block) >= layers.size()) continue;
    Layer& layer = layers[static_cast<size_t>(*block)];
    layer.weights = saturating_add(layer.weights, decision.tensor->n_bytes);
    if (is_rounded(decision)) layer.encoded = saturating_add(layer.encoded, decision.bytes);
  }
  const auto stages = by_stage(resolution, layers.size());

  // Two models, each with activations of its own and a batch of hidden states on its way.
  const schedule::TokenBytes token = schedule::token_bytes(source.tensors(), config);
  const uint64_t batch = unsign(text.tokens_at_a_time()), width = unsign(config.hidden_width()) * sizeof(float);
  const uint64_t in_part = saturating_add(part_bytes_per_token(source.tensors(), config),
                                          schedule::choice_bytes(config, text.n_ctx)),
                 persistent = saturating_sub(token.persistent, mul(2, width));  // nothing for prediction
  CalibrationMemory plan;
  plan.program = schedule::kProgramBytes;
  plan.activations =
      mul(2, saturating_add(mul(batch, saturating_add(in_part, persistent)), schedule::part_bytes(config)));
  plan.hidden_states = mul(2, mul(unsign(text.n_tokens()), width));

  const auto each_stage = [&](size_t l, const auto& body) {
    TextSize here = text;
    here.compares_half = compares_half(static_cast<int>(l), static_cast<int>(layers.size()));
    for (int stage = 0; stage < kStages; ++stage) {
      const auto& decisions = stages[l][static_cast<size_t>(stage)];
      if (!decisions.empty()) body(stage_needs(decisions, stage, config.layers[l].ffn.n_used, here));
    }
  };
  const auto fixed = [&](size_t l) {
    return saturating_add(plan.program, plan.activations, layers[l].weights, layers[l].encoded);
  };
  uint64_t wanted = 0;  // by the layer and stage that could use most
  for (size_t l = 0; l < layers.size(); ++l) {
    each_stage(l, [&](const StageNeeds& needs) {
      const Ways ways(needs, n_threads, n_devices);
      plan.least = std::max(plan.least, saturating_add(fixed(l), ways.least()));
      wanted = std::max(wanted, saturating_add(fixed(l), ways.enough()));
      // Every device has the layer of both models.
      plan.on_device = std::max(
          plan.on_device, saturating_add(plan.activations, layers[l].weights, layers[l].encoded, needs.on_device));
    });
  }
  plan.in_memory = std::min(plan.hidden_states, saturating_sub(memory, wanted));
  plan.peak = plan.least;
  uint64_t scratch = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const uint64_t beside = saturating_add(fixed(l), plan.in_memory);
    plan.of_stage.push_back(saturating_sub(memory, beside));
    each_stage(l, [&](const StageNeeds& needs) {
      const StagePlan stage = plan_stage(needs, plan.of_stage.back(), n_threads, n_devices);
      scratch = std::max(scratch, stage.scratch);
      const uint64_t used = saturating_add(beside, stage.memory);
      if (used < plan.peak) return;
      plan.peak = used;
      plan.weights = layers[l].weights;
      plan.encoded = layers[l].encoded;
      plan.statistics = stage.memory;
      plan.slices_at_once =
          std::min<int64_t>(stage.slices_at_once, std::min<int64_t>(most_lanes(n_threads, n_devices), needs.n_slices));
      plan.stores_rows = stage.stores_rows;
    });
  }
  plan.scratch = saturating_add(plan.hidden_states - plan.in_memory, scratch);
  return plan;
}

}  // namespace steelyard::calibrate

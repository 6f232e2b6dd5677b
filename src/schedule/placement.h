// Which device holds which layers: ranges in the order of the devices, so that a batch is transferred once from each
// device to the next. Layers that are on no device come first, and stay on the host. Pure arithmetic; used by models on
// several devices and by `fit`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "schedule/memory_plan.h"

namespace steelyard::schedule {

struct PlacementRequest {
  std::vector<uint64_t> free_bytes;  ///< bytes that each device has free
  std::vector<double> proportions;   ///< of the numbers of layers, one per device; empty: by memory
  int64_t n_layers = INT32_MAX;      ///< the last so many layers are on devices, the others on the host
};

struct Placement {
  LayerRange host;
  std::vector<LayerRange> devices;
};

/// Error when proportions are not one number >= 0 for each device, or are all 0.
Placement place_layers(const MemoryPlan& plan, const PlacementRequest& request);

/// Whether every device has room for its layers.
bool fits(const MemoryPlan& plan, const Placement& placement, std::span<const uint64_t> free_bytes);

/// The most layers at the end of the trunk that devices have room for.
int64_t most_layers(const MemoryPlan& plan, PlacementRequest request);

}  // namespace steelyard::schedule

// Whether a model's backends have room for what a session needs on each of them. Sessions ask before they load
// anything; `bench` asks for the longest context.
#pragma once

#include "model/model.h"
#include "schedule/memory_plan.h"

namespace steelyard::schedule {

/// Whether each backend's memory, or all of the host's, has room for its part of a session with these needs.
bool fits_memory(const model::Model& model, const MemoryPlan& plan);

/// Error with the numbers when a backend's memory has no room. The host's is not checked: its weights are maps of the
/// file.
void check_memory(const model::Model& model, const MemoryRequest& request);

}  // namespace steelyard::schedule

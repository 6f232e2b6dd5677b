#include "schedule/memory_check.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/memory.h"

namespace steelyard::schedule {
namespace {

// A backend and the layers it holds.
using Part = std::pair<compute::Backend*, LayerRange>;

std::vector<Part> parts_of(const model::Model& model) {
  std::vector<Part> parts;
  for (int i = 0; i < model.n_layers(); ++i) {
    if (parts.empty() || parts.back().first != &model.backend(i)) {
      parts.emplace_back(&model.backend(i), LayerRange{i, i});
    }
    ++parts.back().second.end;
  }
  return parts;
}

// The trunk's memory on a device is loaded already, and no longer free.
DeviceMemory still_needed(MemoryPlan plan, LayerRange layers, const compute::Backend& backend) {
  if (backend.free_memory()) plan.embedding = plan.output = plan.tied_output = 0;
  return plan.on_device(layers);
}

}  // namespace

bool fits_memory(const model::Model& model, const MemoryPlan& plan) {
  return std::ranges::all_of(parts_of(model), [&](const Part& part) {
    const auto& [backend, layers] = part;
    return still_needed(plan, layers, *backend).total() <= backend->free_memory().value_or(physical_memory());
  });
}

void check_memory(const model::Model& model, const MemoryRequest& request) {
  for (const auto& [backend, layers] : parts_of(model)) {
    const auto free = backend->free_memory();
    if (!free) continue;  // and no plan: binding says more clearly what is wrong with a file
    const MemoryPlan plan = plan_memory(model.reader(), model.config(), request);
    check_fits(still_needed(plan, layers, *backend), *free, std::string(backend->name()));
  }
}

}  // namespace steelyard::schedule

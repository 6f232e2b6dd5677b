#include "jobs/fit.h"

#include <algorithm>

#include "base/error.h"
#include "imatrix/imatrix.h"
#include "jobs/source.h"
#include "model/architecture.h"
#include "plan/resolve.h"
#include "schedule/placement.h"

namespace steelyard::jobs {
namespace {

// The context of the report when none is requested and not even this one fits.
constexpr int64_t kLeastContext = 4096;

FitDevice describe(const schedule::MemoryPlan& plan, schedule::LayerRange layers, uint64_t free) {
  const schedule::DeviceMemory memory = plan.on_device(layers);
  return {.first_layer = layers.begin,
          .n_layers = layers.size(),
          .weights = memory.weights,
          .cache = memory.caches,
          .rope = memory.tables,
          .activations = memory.activations,
          .needed = memory.total(),
          .free = free};
}

std::string name_of_plan(const PlanSource& source) {
  if (!source.plan.empty()) return printable(source.plan, 4096);
  return plan_name(source.preset.empty() ? source.type : source.preset);
}

// The tensors of a file, in the types of a plan if there is one.
class PlannedModel {
 public:
  PlannedModel(const FitOptions& options, const gguf::Source& reader) : tensors_(reader) {
    const bool anything = to_json(options.source) != to_json(PlanSource());
    if (!anything && options.imatrix.empty()) return;
    if (!options.imatrix.empty()) imatrix::Imatrix::load(options.imatrix);  // error if it is none
    const plan::Resolution resolution = resolve(options.source.load(), reader.tensors(),
                                                plan::model_facts(reader.metadata(), !options.imatrix.empty()));
    infos_.assign(reader.tensors().begin(), reader.tensors().end());
    for (size_t i = 0; i < infos_.size(); ++i) {
      infos_[i].type = resolution.decisions[i].type;
      infos_[i].n_bytes = resolution.decisions[i].bytes;
    }
    tensors_ = {infos_, reader.path()};
  }
  PlannedModel(const PlannedModel&) = delete;

  const schedule::ModelTensors& tensors() const { return tensors_; }

 private:
  std::vector<gguf::TensorInfo> infos_;  // of a plan
  schedule::ModelTensors tensors_;
};

}  // namespace

FitResult fit(const FitOptions& options) {
  const std::vector<uint64_t> free_bytes = options.devices.free_bytes();
  const schedule::PlacementRequest placement = options.devices.placement.request(free_bytes);
  const auto opened = open_source(options.model, gguf::ReadMode::kHeader);
  const gguf::Source& reader = *opened;
  const model::ModelConfig config = model::read_config(reader);
  schedule::MemoryRequest request = options.devices.memory_request(config, options.ctx_size);
  const PlannedModel planned(options, reader);
  const schedule::ModelTensors& tensors = planned.tensors();

  FitResult result;
  result.model = printable(options.model, 4096);
  result.architecture = config.architecture;
  result.plan = name_of_plan(options.source);
  result.n_layers = static_cast<int64_t>(config.layers.size());
  result.model_context = config.n_context;
  result.sequences = request.n_sequences;
  result.batch = request.n_batch;
  result.cache_type_k = format(request.cache_types.keys).name;
  result.cache_type_v = format(request.cache_types.values).name;
  result.reserve = options.devices.reserve;
  result.largest_context = largest_context(tensors, config, request, [&](const schedule::MemoryPlan& plan) {
    return fits(plan, place_layers(plan, placement), free_bytes);
  });
  if (request.n_context == 0) {
    request.n_context = result.largest_context > 0 ? result.largest_context : std::min(kLeastContext, config.n_context);
  }
  result.context = request.n_context;
  const schedule::MemoryPlan plan = plan_memory(tensors, config, request);
  const schedule::Placement placed = place_layers(plan, placement);
  result.fits = fits(plan, placed, free_bytes);
  result.most_layers = most_layers(plan, placement);
  result.prediction = plan.prediction;
  result.host = describe(plan, placed.host, 0);
  for (size_t d = 0; d < free_bytes.size(); ++d)
    result.devices.push_back(describe(plan, placed.devices[d], free_bytes[d]));
  return result;
}

}  // namespace steelyard::jobs

#include "jobs/fit.h"

#include <algorithm>

#include "base/byte_size.h"
#include "base/error.h"
#include "model/architecture.h"
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

}  // namespace

FitResult fit(const FitOptions& options) {
  std::vector<uint64_t> free_bytes = parse_byte_list(options.vram);
  for (uint64_t& bytes : free_bytes) bytes -= std::min(bytes, options.reserve);
  const schedule::PlacementRequest placement = options.placement.request(free_bytes);
  const gguf::Reader reader(options.model, gguf::ReadMode::kHeader);
  const model::ModelConfig config = model::read_config(reader.metadata());
  schedule::MemoryRequest request{.n_context = options.ctx_size,
                        .n_sequences = options.sequences,
                        .n_batch = options.batch_size,
                        .cache_types = options.cache.types()};
  for (const model::LayerConfig& layer : config.layers) check_cache_types(layer.attention, request.cache_types);
  if (request.n_context > config.n_context) {
    fail("", "a context of {} is beyond the model's {}", request.n_context, config.n_context);
  }

  FitResult result;
  result.model = printable(options.model, 4096);
  result.architecture = config.architecture;
  result.n_layers = static_cast<int64_t>(config.layers.size());
  result.model_context = config.n_context;
  result.sequences = request.n_sequences;
  result.batch = request.n_batch;
  result.cache_type_k = format(request.cache_types.keys).name;
  result.cache_type_v = format(request.cache_types.values).name;
  result.reserve = options.reserve;
  result.largest_context = largest_context(reader, config, request, [&](const schedule::MemoryPlan& plan) {
    return fits(plan, place_layers(plan, placement), free_bytes);
  });
  if (request.n_context == 0) {
    request.n_context = result.largest_context > 0 ? result.largest_context : std::min(kLeastContext, config.n_context);
  }
  result.context = request.n_context;
  const schedule::MemoryPlan plan = plan_memory(reader, config, request);
  const schedule::Placement placed = place_layers(plan, placement);
  result.fits = fits(plan, placed, free_bytes);
  result.most_layers = most_layers(plan, placement);
  result.prediction = plan.prediction;
  result.host = describe(plan, placed.host, 0);
  for (size_t d = 0; d < free_bytes.size(); ++d) result.devices.push_back(describe(plan, placed.devices[d], free_bytes[d]));
  return result;
}

}  // namespace steelyard::jobs

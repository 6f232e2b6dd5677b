// A GGUF header as a model: from metadata to a configuration, what `fit` and the planner of sweeps say of it, and the
// model bound as `run` binds it, layer by layer, without computing. The data behind the header is made up, so that
// inputs are small.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "compute/backend.h"
#include "fuzz/target.h"
#include "gguf/reader.h"
#include "model/architecture.h"
#include "model/model.h"
#include "schedule/memory_check.h"
#include "schedule/placement.h"
#include "schedule/session.h"
#include "schedule/sweep_plan.h"

namespace steelyard::model {
namespace {

using fuzz::allow_errors, fuzz::g_sink;

constexpr size_t kFileBytes = size_t{1} << 20;
// The tiny models of the seeds need a fraction of it. Widths are proved by data, of which there is no more than that.
constexpr int64_t kContext = 8;

// As jobs/fit does.
void fit(const gguf::Reader& reader, const ModelConfig& config) {
  schedule::MemoryRequest request;
  request.n_context = 4096;
  const schedule::MemoryPlan plan = plan_memory(reader, config, request);
  g_sink = plan.on_device(plan.all()).total();
  const std::vector<uint64_t> free_bytes = {uint64_t{1} << 20, uint64_t{1} << 34};
  const schedule::PlacementRequest devices{.free_bytes = free_bytes, .proportions = {}};
  g_sink = fits(plan, place_layers(plan, devices), free_bytes);
  // A search by halves, of which every step makes a plan: not for models of thousands of layers.
  if (plan.layers.size() > 16) return;
  const int64_t context = largest_context(reader, config, request, [&](const schedule::MemoryPlan& at) {
    return fits(at, place_layers(at, devices), free_bytes);
  });
  STEELYARD_CHECK(context >= 0 && context <= config.n_context);
}

void plan_sweeps(const gguf::Reader& reader, const ModelConfig& config) {
  for (const uint64_t memory : {uint64_t{0}, uint64_t{1} << 30, uint64_t{1} << 40}) {
    const schedule::SweepPlan plan = schedule::plan_sweep(reader, config, memory, 0, 512, 2048, std::nullopt);
    STEELYARD_CHECK(plan.n_batch >= 1 && plan.n_batch <= 2048);
    g_sink = plan.hidden_state_bytes;
  }
}

// As `run` does.
void bind(const gguf::Reader& reader, compute::Backend& backend) {
  const Model model(reader, backend);
  {
    const schedule::Session session(model, kContext);
    g_sink = static_cast<uint64_t>(session.position());
  }
  for (int i = 0; i < model.n_predictions(); ++i) {
    g_sink = model.prediction(i).eh_proj.n_in;
    g_sink = model.layer(model.n_layers() + i, kContext).weights.attention.norm.n;
  }
  for (int i = 0; i < model.n_layers() + model.n_predictions(); ++i) g_sink = model.block_bytes(i);
}

}  // namespace
}  // namespace steelyard::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace steelyard;
  using fuzz::allow_errors;
  static const std::unique_ptr<compute::Backend> backend = compute::make_backend("cpu");
  static fuzz::MemoryFile file;
  file.set_with_data(data, size, model::kFileBytes);
  const auto plan = [](const gguf::Reader& reader) {
    const model::ModelConfig config = model::read_config(reader);
    allow_errors([&] { model::fit(reader, config); });
    allow_errors([&] { model::plan_sweeps(reader, config); });
  };
  const bool has_data = allow_errors([&] {
    const gguf::Reader reader(file.path());
    allow_errors([&] { plan(reader); });
    allow_errors([&] { model::bind(reader, *backend); });
  });
  // A header may promise more data than there are.
  if (!has_data) allow_errors([&] { plan(gguf::Reader(file.path(), gguf::ReadMode::kHeader)); });
  return 0;
}

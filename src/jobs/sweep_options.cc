#include "jobs/sweep_options.h"

#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/memory.h"

namespace steelyard::jobs {

SweepPlan SweepChoice::plan(const gguf::Reader& reader, const ModelConfig& config, uint64_t result_bytes,
                            int64_t n_ctx) const {
  if (batch_size < 1) fail("", "a batch of {} tokens is too small", batch_size);
  std::optional<SweepOrder> wanted;
  if (!order.empty()) {
    if (order != "layer" && order != "token")
      fail("", "--order: expected layer or token, found \"{}\"", printable(order));
    wanted = order == "layer" ? SweepOrder::kLayer : SweepOrder::kToken;
  }
  return plan_sweep(reader, config, memory > 0 ? memory : physical_memory() / 5 * 4, result_bytes, n_ctx, batch_size,
                    wanted);
}

SweepOptions SweepChoice::sweep(const gguf::Reader& reader, const ModelConfig& config, uint64_t result_bytes,
                                int64_t n_ctx, const std::string& output) const {
  const SweepPlan plan = this->plan(reader, config, result_bytes, n_ctx);
  SweepOptions options;
  options.n_batch = plan.n_batch;
  options.keep_layers = plan.order == SweepOrder::kToken;
  options.hidden_state_bytes = plan.hidden_state_bytes;
  options.scratch_folder = std::filesystem::path(output).parent_path().string();
  return options;
}

}  // namespace steelyard::jobs

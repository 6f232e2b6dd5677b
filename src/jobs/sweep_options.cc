#include "jobs/sweep_options.h"

#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/memory.h"

namespace steelyard::jobs {

schedule::SweepPlan SweepChoice::plan(const gguf::Source& reader, const model::ModelConfig& config,
                                      uint64_t result_bytes, int64_t n_ctx) const {
  if (batch_size < 1) fail("", "--batch-size is {}, expected at least 1", batch_size);
  std::optional<schedule::SweepOrder> wanted;
  if (!order.empty()) {
    if (order != "layer" && order != "token")
      fail("", "--order: expected layer or token, found \"{}\"", printable(order));
    wanted = order == "layer" ? schedule::SweepOrder::kLayer : schedule::SweepOrder::kToken;
  }
  return plan_sweep(reader, config, usable_memory(memory), result_bytes, n_ctx, batch_size, wanted);
}

schedule::SweepOptions SweepChoice::sweep(const gguf::Source& reader, const model::ModelConfig& config,
                                          uint64_t result_bytes, int64_t n_ctx, const std::string& output,
                                          cluster::Ranks* ranks) const {
  const schedule::SweepPlan plan = this->plan(reader, config, result_bytes, n_ctx);
  schedule::SweepOptions options;
  options.n_batch = plan.n_batch;
  options.keep_layers = plan.order == schedule::SweepOrder::kToken;
  options.hidden_state_bytes = plan.hidden_state_bytes;
  options.scratch_folder = std::filesystem::path(output).parent_path().string();
  if (cluster::are_several(ranks)) {
    options.ranks = ranks;
    options.n_batch = cluster::least(*ranks, options.n_batch);
    options.keep_layers = cluster::least(*ranks, options.keep_layers) != 0;
  }
  return options;
}

}  // namespace steelyard::jobs

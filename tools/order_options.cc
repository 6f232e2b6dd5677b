#include "order_options.h"

#include <filesystem>

#include "base/error.h"
#include "base/memory.h"

namespace steelyard::tools {

void OrderOptions::add_to(CLI::App& command) {
  command.add_option("-b,--batch-size", n_batch_, "tokens per batch: several chunks, or a part of one")
      ->capture_default_str();
  command
      .add_option("--memory", memory_,
                  "memory to use, e.g. 8GiB, weights in use included; by default most of what there is")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/true));
  command
      .add_option("--order", order_,
                  "layer: all text through one layer after the other, which reads the model once; token: all layers "
                  "for one batch after the other; by default layer where the model exceeds --memory")
      ->check(CLI::IsMember({"layer", "token"}));
}

int64_t OrderOptions::n_batch() const {
  if (n_batch_ < 1) fail("", "a batch of {} tokens is too small", n_batch_);
  return n_batch_;
}

SweepPlan OrderOptions::plan(const gguf::Reader& reader, const ModelConfig& config, uint64_t result_bytes,
                             int64_t n_ctx) const {
  const uint64_t memory = memory_ > 0 ? memory_ : physical_memory() / 5 * 4;
  std::optional<SweepOrder> order;
  if (!order_.empty()) order = order_ == "layer" ? SweepOrder::kLayer : SweepOrder::kToken;
  return plan_sweep(reader, config, memory, result_bytes, n_ctx, n_batch(), order);
}

SweepOptions OrderOptions::sweep(const gguf::Reader& reader, const ModelConfig& config, uint64_t result_bytes,
                                 int64_t n_ctx, const std::string& output) const {
  const SweepPlan plan = this->plan(reader, config, result_bytes, n_ctx);
  SweepOptions options;
  options.n_batch = plan.n_batch;
  options.keep_layers = plan.order == SweepOrder::kToken;
  options.stream_bytes = plan.stream_bytes;
  options.scratch_folder = std::filesystem::path(output).parent_path().string();
  return options;
}

}  // namespace steelyard::tools

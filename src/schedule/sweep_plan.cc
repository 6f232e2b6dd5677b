#include "schedule/sweep_plan.h"

#include <algorithm>
#include <map>

#include "base/saturating.h"
#include "gguf/block_name.h"

namespace steelyard::schedule {
namespace {

// Blocks are in use one after the other, and so are the tensors outside them. An embedding that is also the output
// matrix stays.
uint64_t weights_at_a_time(const gguf::Source& reader) {
  std::map<int64_t, uint64_t> blocks;
  uint64_t most = 0;
  for (const gguf::TensorInfo& tensor : reader.tensors()) {
    const auto block = gguf::block_of(tensor.name);
    most = std::max(most, block ? blocks[*block] += tensor.n_bytes : tensor.n_bytes);
  }
  const gguf::TensorInfo* const embedding = reader.find("token_embd.weight");
  const bool tied = embedding != nullptr && reader.find("output.weight") == nullptr;
  return saturating_add(most, tied ? embedding->n_bytes : 0);
}

}  // namespace

// Scratch memory is released block by block, so it holds the inputs and outputs of all of a block's products. Inputs
// that several products share are counted for each, which leaves room for norms and copies.
TokenBytes token_bytes(std::span<const gguf::TensorInfo> tensors, const model::ModelConfig& config) {
  std::map<size_t, uint64_t> values;
  uint64_t input = 0;
  for (const gguf::TensorInfo& tensor : tensors) {
    const auto found = gguf::block_of(tensor.name);
    if (!found || tensor.n_dims < 2) continue;
    const auto block = static_cast<size_t>(*found);
    if (block >= config.layers.size() + config.prediction.size()) continue;
    const int64_t n_experts = config.block(block).ffn.n_expert;
    const bool routed = tensor.ne[2] > 1 && tensor.ne[2] == n_experts;
    const auto times = static_cast<uint64_t>(routed ? config.block(block).ffn.n_used : tensor.ne[2]);
    const auto n_in = static_cast<uint64_t>(tensor.ne[0]);
    const uint64_t n_scaled = routed && config.block(block).ffn.own_norms ? 2 : 1;  // experts' outputs and their scales
    const uint64_t n_out = saturating_mul(static_cast<uint64_t>(tensor.ne[1]), n_scaled);
    values[block] =
        saturating_add(values[block], saturating_mul(saturating_add(n_in, n_out), times));  // both are below 2^63
    if (block < config.layers.size()) input = std::max(input, saturating_mul(n_in, times));
  }
  uint64_t widest = 0, widest_layer = 0;
  for (const auto& [block, n] : values) {
    widest = std::max(widest, n);
    if (block < config.layers.size()) widest_layer = std::max(widest_layer, n);
  }
  uint64_t cached = 0;
  for (const model::LayerConfig& layer : config.layers) {
    const model::AttentionConfig& attention = layer.attention;
    if (!attention.attends()) continue;  // a state, not a cache: it does not grow with the tokens
    const model::CompressedConfig& compressed = attention.compressed;
    if (compressed.block > 0) {  // entries beside the positions
      const auto entry = static_cast<uint64_t>(attention.key_width() + compressed.index_head);
      cached = std::max(cached, saturating_add(static_cast<uint64_t>(attention.key_width()),
                                               entry / static_cast<uint64_t>(compressed.block) + 1));
    }
    cached = std::max(cached, saturating_add(static_cast<uint64_t>(attention.key_width()),
                                             static_cast<uint64_t>(attention.value_width()),
                                             static_cast<uint64_t>(attention.indexer.head)));
  }
  constexpr uint64_t kKindsOfLayers = 2, kHiddenStateCopies = 4;  // in the batch, on the host, twice for prediction
  const uint64_t persistent = saturating_add(saturating_mul(kKindsOfLayers, cached),
                                             kHiddenStateCopies * static_cast<uint64_t>(config.hidden_width()));
  const auto bytes = [](uint64_t n_values) { return saturating_mul(n_values, sizeof(float)); };
  return {bytes(widest), bytes(widest_layer), bytes(input), bytes(persistent)};
}

uint64_t choice_bytes(const model::ModelConfig& config, int64_t n_ctx) {
  const auto chooses = [&](const model::LayerConfig& layer) { return layer.attention.indexer.chooses(n_ctx); };
  if (std::ranges::none_of(config.layers, chooses)) return 0;
  return saturating_mul(2 * sizeof(float), static_cast<uint64_t>(n_ctx));  // scores, and what is visible
}

uint64_t part_bytes(const model::ModelConfig& config) {
  const auto pools = [](const model::LayerConfig& layer) { return layer.attention.mixer == model::Mixer::kCompressed; };
  return std::ranges::any_of(config.layers, pools) ? 2 * sizeof(float) * uint64_t{model::kSeenAtOnce} : 0;
}

SweepPlan plan_sweep(const gguf::Source& reader, const model::ModelConfig& config, uint64_t memory,
                     uint64_t result_bytes, int64_t n_ctx, int64_t n_batch, std::optional<SweepOrder> order) {
  TokenBytes token = token_bytes(reader.tensors(), config);
  token.in_block = saturating_add(token.in_block, choice_bytes(config, n_ctx));
  const auto chunk = static_cast<uint64_t>(n_ctx);
  SweepPlan plan;
  // A quarter for activations, because products do not become faster beyond some thousand rows.
  constexpr int64_t kLeastBatch = 16;
  const uint64_t in_block = std::max<uint64_t>(token.in_block, 1);  // a file may have no blocks
  uint64_t fitting = memory / 4 / saturating_add(in_block, token.persistent);
  if (fitting < chunk) fitting = saturating_sub(memory / 4, saturating_mul(chunk, token.persistent)) / in_block;
  plan.n_batch = std::clamp<int64_t>(static_cast<int64_t>(std::min<uint64_t>(fitting, INT32_MAX)),
                                     std::min(kLeastBatch, n_batch), n_batch);
  if (plan.n_batch > n_ctx) plan.n_batch -= plan.n_batch % n_ctx;
  const auto batch = static_cast<uint64_t>(plan.n_batch);
  plan.activation_bytes = saturating_add(part_bytes(config), saturating_mul(batch, token.in_block),
                                         saturating_mul(std::max(batch, chunk), token.persistent));

  const uint64_t used = saturating_add(kProgramBytes, result_bytes, plan.activation_bytes);
  const bool fits = reader.total_bytes() <= saturating_sub(memory, used);
  plan.order = order.value_or(fits ? SweepOrder::kToken : SweepOrder::kLayer);
  plan.weight_bytes = plan.order == SweepOrder::kToken ? reader.total_bytes() : weights_at_a_time(reader);
  plan.hidden_state_bytes = saturating_sub(memory, saturating_add(used, plan.weight_bytes));
  return plan;
}

}  // namespace steelyard::schedule

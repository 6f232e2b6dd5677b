#include "schedule/memory_plan.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "base/saturating.h"
#include "compute/scratch.h"
#include "gguf/block_name.h"
#include "model/forward.h"
#include "schedule/sweep_plan.h"

namespace steelyard::schedule {
namespace {

// Vectors are decoded when they are bound.
uint64_t bound_bytes(const gguf::TensorInfo& tensor) {
  return tensor.n_dims < 2 ? saturating_mul(static_cast<uint64_t>(tensor.n_elements()), sizeof(float)) : tensor.n_bytes;
}

constexpr uint64_t kMaxBytes = uint64_t{1} << 60;

// A header alone proves no width, and products with the context must stay within 64 bits.
void check_widths(const model::AttentionConfig& attention, const std::string& path) {
  constexpr int64_t kMaxValues = int64_t{1} << 26;
  const model::DeltaNetConfig& delta = attention.delta_net;
  const model::ShortConvConfig& conv = attention.short_conv;
  const model::StateSpaceConfig& space = attention.state_space;
  const model::KimiDeltaConfig& kimi = attention.kimi_delta;
  const int64_t widths[] = {attention.key_width(),
                            attention.value_width(),
                            attention.rope.n_dims,
                            delta.value_width(),
                            delta.conv_width(),
                            delta.head,
                            delta.n_taps,
                            conv.width,
                            conv.n_taps,
                            space.inner(),
                            space.conv_width(),
                            space.n_state,
                            space.n_taps,
                            kimi.width(),
                            kimi.head,
                            kimi.n_taps,
                            attention.indexer.query_width(),
                            attention.indexer.pending_width(),
                            attention.compressed.index_head,
                            attention.ngrams.conv_values()};
  for (const int64_t width : widths) {
    if (width < 0 || width > kMaxValues) fail(path, "a cache {} values wide cannot be planned", width);
  }
}

// Layers whose angles are the same share a table.
uint64_t table_bytes(const model::ModelConfig& config, int64_t n_positions) {
  std::vector<model::RopeConfig> distinct;
  uint64_t values = 0;
  for (const model::LayerConfig& layer : config.layers) {
    const model::RopeConfig& rope = layer.attention.rope;
    if (!layer.attention.rotates() || std::ranges::find(distinct, rope) != distinct.end()) continue;
    distinct.push_back(rope);
    // Half cosines, half sines.
    const uint64_t rows = static_cast<uint64_t>(n_positions) +
                          (is_extended(rope, n_positions) ? static_cast<uint64_t>(rope.original_context) : 0);
    values = saturating_add(values, saturating_mul(rows, static_cast<uint64_t>(rope.n_dims)));
  }
  return saturating_mul(values, sizeof(float));
}

// Whoever asks adds all of it up.
void refuse_beyond_counting(const MemoryPlan& plan, const std::string& path) {
  uint64_t all = saturating_add(plan.embedding, plan.output, plan.tied_output, plan.prediction, plan.tables,
                                plan.activations, plan.logits);
  for (const LayerMemory& layer : plan.layers) all = saturating_add(all, layer.weights, layer.cache);
  if (all > kMaxBytes) fail(path, "its tensors and what comes with them are beyond counting");
}

}  // namespace

TensorPlace place_of(std::string_view tensor, size_t n_layers) {
  using Kind = TensorPlace::Kind;
  const auto block = gguf::block_of(tensor);
  if (tensor.starts_with("per_layer_token_embd")) return {Kind::kHost};  // layers look up rows in the file
  if (!block) return {tensor.starts_with("token_embd.") ? Kind::kEmbedding : Kind::kOutput};
  const auto layer = static_cast<size_t>(*block);
  return layer < n_layers ? TensorPlace{Kind::kLayer, layer} : TensorPlace{Kind::kPrediction};
}

DeviceMemory MemoryPlan::on_device(LayerRange range) const {
  DeviceMemory device = beside_layers(range);
  for (int i = range.begin; i < range.end; ++i) {
    device.weights += layers[static_cast<size_t>(i)].weights;
    device.caches += layers[static_cast<size_t>(i)].cache;
  }
  return device;
}

DeviceMemory MemoryPlan::beside_layers(LayerRange range) const {
  DeviceMemory device;
  if (range.empty()) return device;
  const bool first = range.begin == 0, last = range.end == all().end;
  if (first) device.weights += embedding;
  if (last) device.weights += output + (first ? 0 : tied_output);
  device.tables = tables;
  device.activations = activations + (last ? logits : 0);
  return device;
}

MemoryPlan plan_memory(const ModelTensors& model, const model::ModelConfig& config, const MemoryRequest& request) {
  check_context(model.path, config, request.n_context);
  MemoryPlan plan;
  plan.layers.resize(config.layers.size());
  for (const gguf::TensorInfo& tensor : model.tensors) {
    const uint64_t bytes = bound_bytes(tensor);
    const TensorPlace place = place_of(tensor.name, plan.layers.size());
    if (place.kind == TensorPlace::Kind::kHost) continue;
    if (tensor.name == "per_layer_model_proj.weight") {  // every layer has its rows
      for (LayerMemory& layer : plan.layers) layer.weights = saturating_add(layer.weights, bytes / plan.layers.size());
      continue;
    }
    uint64_t& sum = place.kind == TensorPlace::Kind::kLayer        ? plan.layers[place.layer].weights
                    : place.kind == TensorPlace::Kind::kPrediction ? plan.prediction
                    : place.kind == TensorPlace::Kind::kEmbedding  ? plan.embedding
                                                                   : plan.output;
    sum = saturating_add(sum, bytes);
  }
  const auto end = model.tensors.end();
  if (std::ranges::find(model.tensors, "output.weight", &gguf::TensorInfo::name) == end)
    plan.tied_output = plan.embedding;
  uint64_t caches = 0;
  for (size_t i = 0; i < plan.layers.size(); ++i) {
    const model::AttentionConfig& attention = config.layers[i].attention;
    check_widths(attention, model.path);
    const model::CacheRoom room = cache_room(attention, request.n_context, request.n_batch);
    const uint64_t bytes = kv_layer_bytes(attention, room, request.cache_types);
    plan.layers[i].cache = checked_mul(bytes, static_cast<uint64_t>(request.n_sequences)).value_or(UINT64_MAX);
    const auto sum = checked_add(caches, plan.layers[i].cache);
    if (!sum || *sum > kMaxBytes) fail(model.path, "a cache of {} positions is beyond counting", request.n_context);
    caches = *sum;
  }
  plan.tables = table_bytes(config, request.n_context);
  // A product's input is copied in the form that a device multiplies, which takes up to twice its bytes. Scratch memory
  // and workspaces come in blocks.
  const TokenBytes token = token_bytes(model.tensors, config);
  const uint64_t hidden_state = static_cast<uint64_t>(config.hidden_width()) * sizeof(float);
  const uint64_t each = saturating_add(token.in_layer, saturating_mul(2, token.input), hidden_state,
                                       choice_bytes(config, request.n_context));
  plan.activations = saturating_add(saturating_mul(static_cast<uint64_t>(request.n_batch), each), part_bytes(config),
                                    2 * compute::Scratch::kBlock);
  plan.logits = saturating_mul(
      saturating_mul(static_cast<uint64_t>(request.n_outputs), static_cast<uint64_t>(config.n_vocab)), sizeof(float));
  refuse_beyond_counting(plan, model.path);
  return plan;
}

void check_fits(const DeviceMemory& needed, uint64_t free, const std::string& where) {
  if (needed.total() <= free) return;
  const auto mib = [](uint64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; };
  fail(where,
       "{} MiB do not fit: weights {}, cache {}, RoPE tables {}, activations {} MiB, and {} MiB are free; a shorter "
       "context, a cache in fewer bits or smaller batches need less",
       mib(needed.total()), mib(needed.weights), mib(needed.caches), mib(needed.tables), mib(needed.activations),
       free >> 20);
}

int64_t largest_context(const ModelTensors& model, const model::ModelConfig& config, MemoryRequest request,
                        const std::function<bool(const MemoryPlan&)>& fits) {
  const auto fits_at = [&](int64_t n_context) {
    request.n_context = n_context;
    return fits(plan_memory(model, config, request));
  };
  int64_t low = 0, high = longest_context(config);  // the answer lies in [low, high]
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    if (fits_at(middle))
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

}  // namespace steelyard::schedule
